"""Stop: how a run on the cluster is asked to end, by Ctrl-C and SIGTERM or by whoever else started it."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from types import FrameType
from typing import NoReturn

SAVED = "stopped: the run is saved, and the same command goes on with it"  # the last line of one that was asked to

_SAME_KEY_S = 1.0  # `timeout`, `make` and others pass on a Ctrl-C that the terminal has sent to all already


@dataclass(frozen=True)
class Stop:
    """Between whoever may want a run to end and the driver that passes it on."""

    asked: Event = field(default_factory=Event)
    """Set by those: save and end."""
    running: Event = field(default_factory=Event)
    """Set by the driver, while there is something that can be saved."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the context, SIGTERM ends this process as Ctrl-C does, with what has to be tidied up."""
    with _handled({signal.SIGTERM: _interrupt}):
        yield


@contextmanager
def by_signals(say: Callable[[str], None]) -> Iterator[Stop]:
    """Within the context, the first Ctrl-C or SIGTERM asks the run to save and end, the second interrupts at once.

    So does the first while nothing runs. Two within a second are one.
    """
    stop = Stop()
    asked_at = -float("inf")

    def heed(number: int, frame: FrameType | None) -> None:
        nonlocal asked_at
        if stop.asked.is_set():
            if time.monotonic() - asked_at < _SAME_KEY_S:
                return
            raise KeyboardInterrupt
        asked_at = time.monotonic()
        stop.asked.set()
        if not stop.running.is_set():
            raise KeyboardInterrupt
        say("stopping: the run saves and ends; once more to stop at once")

    with _handled({signal.SIGINT: heed, signal.SIGTERM: heed}):
        yield stop


@contextmanager
def _handled(handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
