"""SIGTERM and Ctrl-C as a polite request: the loop saves at the next step and ends."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """Within the context, the first SIGTERM or SIGINT is noted in `requested`; a second SIGINT interrupts at once.

    One within another, as a run's in that of a chain of runs, passes on what it notes: it may end before it could act.
    Outside the main thread (a Ray worker) signals cannot be caught; then only `stopping` is asked.
    """

    def __init__(self, stopping: Callable[[], bool] | None = None) -> None:
        self._stopping = stopping
        self._noted = False
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether this process has been asked to stop."""
        return self._noted or (self._stopping is not None and self._stopping())

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._noted = True
        outer = getattr(self._previous.get(number), "__self__", None)
        if isinstance(outer, Interruption):
            outer._noted = True


@contextmanager
def at_once() -> Iterator[None]:
    """Ctrl-C ends the process within, as SIGTERM does: Python's own handler has to wait until C++ comes back."""
    python = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if python:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if python:
            signal.signal(signal.SIGINT, signal.default_int_handler)
