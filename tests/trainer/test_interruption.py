import os
import signal

import pytest

from trainer.interruption import Interruption, at_once


def test_the_first_signal_is_a_request_and_the_second_an_order() -> None:
    with Interruption() as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    answers = iter([False, True])
    asked = Interruption(lambda: next(answers))
    assert [asked.requested, asked.requested] == [False, True]


def test_before_training_a_signal_ends_the_process_at_once() -> None:
    with at_once():
        assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_ends_within_another_passes_on_what_it_has_noted() -> None:
    with Interruption() as outer:
        with Interruption() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner.requested
        assert outer.requested
