"""Clock: where the time of a step goes. Pace: how long a step takes. seconds(): how long a piece of work takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Clock:
    """Adds up seconds by phase; on a GPU it waits for the device, so that a phase is charged with its own work.

    `mark` is called with each phase as it begins.
    """

    def __init__(self, device: torch.device, mark: Callable[[str], None] = lambda phase: None) -> None:
        self._device, self._mark = device, mark
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Charge the body to `phase`."""
        self._mark(phase)
        started = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started


class Pace:
    """Seconds a step, without what is done between steps: saves, evaluations, measurements."""

    def __init__(self, step: int) -> None:
        self._since, self._step = time.perf_counter(), step

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The body is no part of a step."""
        started = time.perf_counter()
        yield
        self._since += time.perf_counter() - started

    def lap(self, step: int) -> float:
        """Seconds a step from the last lap to the end of `step`."""
        now = time.perf_counter()
        seconds = (now - self._since) / (step - self._step)
        self._since, self._step = now, step
        return seconds


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds of this process on a CPU, so that others do not count; of the wall on CUDA."""
    return time.perf_counter if device.type == "cuda" else time.process_time


def seconds(
    work: Callable[[], Any], device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> float:
    """What `work` takes by `clock`; on CUDA from idle to idle."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.synchronize(device)
    start = clock()
    work()
    if cuda:
        torch.cuda.synchronize(device)
    return clock() - start
