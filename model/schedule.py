"""Annealed values: functions of the training step, so that a resumed run needs no hidden state."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Ramp:
    """A value that goes linearly from `start` to `end` between the steps `begin` and `begin + steps`.

    Before, it is `start`; afterwards, `end`. With steps = 0 it jumps at `begin`.
    """

    start: float
    """The value before."""
    end: float
    """The value afterwards."""
    steps: int = 0
    """Optimiser steps that the way takes; 0 = a jump."""
    begin: int = 0
    """Optimiser steps done when it begins."""

    def __post_init__(self) -> None:
        if self.steps < 0 or self.begin < 0:
            raise ValueError(f"ramp: steps, begin got {self.steps}, {self.begin}, need at least 0")

    def at(self, step: int) -> float:
        """The value at `step` (optimiser steps done so far)."""
        if step < self.begin:
            return self.start
        share = min(1.0, (step - self.begin) / self.steps) if self.steps else 1.0
        return self.start + share * (self.end - self.start)

    def require(self, name: str, low: float, high: float = float("inf")) -> None:
        """Refuse a ramp that leaves [low, high].

        Raises:
            ValueError: one of its ends is outside; `name` is the field to speak of.
        """
        for end in (self.start, self.end):
            if not low <= end <= high:
                raise ValueError(f"{name}: got {end:g}, allowed are {low:g} to {high:g}")


@dataclass(frozen=True)
class Stairs:
    """A value that jumps: it is `values[0]` at first, and `values[i]` from step `steps[i - 1]` on."""

    values: tuple[int | float, ...]
    """One more than steps."""
    steps: tuple[int, ...] = ()
    """Optimiser steps done at each jump, ascending."""

    def __post_init__(self) -> None:
        if len(self.values) != len(self.steps) + 1:
            raise ValueError(
                f"stairs of {len(self.values)} values and {len(self.steps)} steps, need one value more than steps"
            )
        if any(later <= step for step, later in pairwise((0, *self.steps))):
            raise ValueError(
                f"stairs at steps {list(self.steps)}, need numbers from 1 up, each above the last"
            )

    def at(self, step: int) -> int | float:
        """The value at `step` (optimiser steps done so far)."""
        return self.values[bisect_right(self.steps, step)]
