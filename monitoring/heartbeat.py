"""Heart: where a rank's loop is and since when, for whoever watches it from outside.

The loop only says what it passes; another thread asks for `beat()` and sends it. So a process that is stopped, of
which nothing is heard, differs from a loop that is blocked, whose beats tell of the same place.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from monitoring.run_state import Past, RunState

LEAST_S = 10.0  # without progress in a step, before it may be called a hang
TIMES = 10.0  # what one step in a hundred takes
_STEPS = 512  # the last ones, of which p99_s is


def bound(p99_s: float) -> float:
    """Seconds within which a step comes forward where it does not hang."""
    return max(LEAST_S, TIMES * p99_s)


@dataclass(frozen=True)
class Beat:
    """A rank at one moment.

    Attributes:
        state: what it is doing.
        phase: the part of a step that it is in, as PHASES has them; "" = none of them.
        step: optimiser steps done.
        marks: places that its loop has passed. All ranks pass the same ones in the same order, so that of two of them
            the one with fewer is behind.
        still_s: seconds since it passed the last.
        p99_s: what one step in a hundred takes at least, its wait for data left out; None = not known before the end
            of the second step, for the first is none to go by.
    """

    state: RunState
    phase: str
    step: int
    marks: int
    still_s: float
    p99_s: float | None


class Heart:
    """Told by the loop, asked by another thread.

    Args:
        clock: gives seconds.
        past: what whoever listens knows of the time before this process.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, past: Past | None = None) -> None:
        self._clock = clock
        self._past = past
        # Replaced as a whole, so that no thread sees half of a change: state, phase, step, marks, since when.
        self._at = (RunState.STARTING, "", 0, 0, clock())
        self._steps: deque[float] = deque(maxlen=_STEPS)
        self._begun = False

    def take_past(self) -> Past:
        """The time before this process, for the first run in it: to later ones it is not theirs."""
        past, self._past = self._past, None
        return past or Past()

    def begin(self, step: int) -> None:
        """Training starts from `step`. The first step from there takes as long as it takes."""
        self._steps.clear()
        self._begun = False
        self._pass(step=step)

    def enter(self, state: RunState) -> None:
        """The run is now in `state`."""
        self._pass(state=state)

    def phase(self, name: str) -> None:
        """A step has come to this part of it."""
        self._pass(phase=name)

    def step(self, seconds: float) -> float:
        """A step is done, which took so long without its wait for data; returns how much of that it has hung."""
        usual = self._p99_s()
        stalled = seconds - usual if usual is not None and seconds > bound(usual) else 0.0
        if self._begun:
            self._steps.append(seconds)
        self._begun = True
        self._pass(step=self._at[2] + 1)
        return stalled

    def beat(self) -> Beat:
        """Where the loop is now."""
        state, phase, step, marks, since = self._at
        return Beat(state, phase, step, marks, max(self._clock() - since, 0.0), self._p99_s())

    def _p99_s(self) -> float | None:
        steps = sorted(tuple(self._steps))
        return steps[len(steps) * 99 // 100] if steps else None

    def _pass(self, state: RunState | None = None, phase: str = "", step: int | None = None) -> None:
        now, _, done, marks, _ = self._at
        self._at = (
            now if state is None else state,
            phase,
            done if step is None else step,
            marks + 1,
            self._clock(),
        )
