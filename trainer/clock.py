"""Clock: where the time of a step goes. Pace: how long a step takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """Adds up seconds by phase; on a GPU it waits for the device, so that a phase is charged with its own work."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Charge the body to `phase`."""
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
