import os
import signal

import pytest

from cluster import stop
from cluster.stop import by_signals, interruptible


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_interrupts(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with by_signals(said.append) as wish:
        wish.running.set()
        send(number)
        send(number)  # the same key, passed on by `make`
        assert wish.asked.is_set()
        assert said == ["stopping: the run saves and ends; once more to stop at once"]
        monkeypatch.setattr(stop, "_SAME_KEY_S", 0.0)
        with pytest.raises(KeyboardInterrupt):
            send(number)


def test_while_nothing_runs_the_first_signal_interrupts() -> None:
    said: list[str] = []
    with by_signals(said.append) as wish:
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGTERM)
        assert not said
        wish.running.set()
        wish.running.clear()  # a worker was lost
        send(signal.SIGINT)  # the same key


def test_sigterm_is_ctrl_c_within_and_what_it_was_after() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with interruptible(), pytest.raises(KeyboardInterrupt):
        send(signal.SIGTERM)
    with by_signals(lambda text: None):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
