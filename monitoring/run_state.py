"""The states of a run, and where its wall time went since its first start, across restarts."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self


class RunState(StrEnum):
    """What a run is doing, or how it ended."""

    STARTING = "starting"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def final(self) -> bool:
        """Whether the process that reports this state does nothing more."""
        return self in (RunState.FINISHED, RunState.FAILED, RunState.INTERRUPTED)


# `stalled` is time in which no rank came forward. `lost` is the rest: the time between processes, and work done after
# the checkpoint that was resumed from.
ACTIVITIES = ("productive", "data_wait", "starting", "evaluating", "saving", "stalled", "lost")

_ACTIVITY = {
    RunState.STARTING: "starting",
    RunState.TRAINING: "productive",
    RunState.EVALUATING: "evaluating",
    RunState.SAVING: "saving",
}


@dataclass(frozen=True)
class Past:
    """What whoever started a process knows of the time before it, in unix seconds.

    Attributes:
        submitted: when the user asked for this start; None = as the process begins, for it follows another.
        stalls: from when to when an earlier process did not come forward, until it was ended.
    """

    submitted: float | None = None
    stalls: tuple[tuple[float, float], ...] = ()

    def stalled(self, since: float) -> float:
        """Seconds of stalls after a time: of those before it a checkpoint knows."""
        return sum(max(until - max(begun, since), 0.0) for begun, until in self.stalls)


@dataclass
class Timeline:
    """Seconds that a run spent per activity, in the history that led to its present weights.

    A checkpoint keeps `saved()`; a start from it builds the timeline with `resumed`. What a killed process
    did after its last checkpoint is in no checkpoint, so it shows up as `lost`: goodput falls by itself.
    """

    first_start: float  # unix seconds
    seconds: dict[str, float] = field(default_factory=dict)
    state: RunState = RunState.STARTING
    _since: float = 0.0

    @classmethod
    def begin(cls, now: float | None = None, first: float | None = None, past: Past | None = None) -> Self:
        """A run without a checkpoint, whose first start, if it is not this one, was at `first`."""
        start, past = _started(now, past)
        first = start if first is None else min(first, start)
        return cls(first, {"stalled": past.stalled(first)} if past.stalls else {}, _since=start)

    @classmethod
    def resumed(cls, saved: Mapping[str, object], now: float | None = None, past: Past | None = None) -> Self:
        """A run that goes on from what `saved()` returned. Raises ValueError where that is damaged."""
        try:
            spent = saved["seconds"]
            assert isinstance(spent, Mapping)
            seconds = {name: float(spent[name]) for name in spent if name in ACTIVITIES}
            first_start = float(str(saved["first_start"]))
            until = float(str(saved.get("until", first_start)))
            assert all(map(math.isfinite, (first_start, until, *seconds.values())))
        except (KeyError, TypeError, ValueError, OverflowError, AssertionError) as error:
            raise ValueError(f"timeline of the checkpoint is damaged: {dict(saved)!r:.200}") from error
        start, past = _started(now, past)
        if past.stalls:
            seconds["stalled"] = seconds.get("stalled", 0.0) + past.stalled(until)
        return cls(first_start, seconds, _since=max(start, until))

    def enter(self, state: RunState, now: float | None = None) -> None:
        """Close the present activity and start another. A final state counts no more time."""
        now = self._settle(now)
        self.state = state

    def wait(self, seconds: float) -> None:
        """Of the time in TRAINING, `seconds` were spent waiting for data."""
        self.seconds["data_wait"] = self.seconds.get("data_wait", 0.0) + seconds
        self.seconds["productive"] = self.seconds.get("productive", 0.0) - seconds

    def stall(self, seconds: float) -> None:
        """Of the time in TRAINING, `seconds` were spent without coming forward."""
        if seconds:
            self.seconds["stalled"] = self.seconds.get("stalled", 0.0) + seconds
            self.seconds["productive"] = self.seconds.get("productive", 0.0) - seconds

    def saved(self, now: float | None = None) -> dict[str, object]:
        """What a checkpoint keeps, as JSON."""
        until = self._settle(now)
        return {"first_start": self.first_start, "seconds": dict(self.seconds), "until": until}

    def split(self, now: float | None = None) -> dict[str, float]:
        """Seconds per activity; they add up to the wall time since the first start."""
        now = self._settle(now)
        kept = {name: max(self.seconds.get(name, 0.0), 0.0) for name in ACTIVITIES if name != "lost"}
        return {**kept, "lost": max(now - self.first_start - sum(kept.values()), 0.0)}

    def goodput(self, now: float | None = None) -> float:
        """Productive time over wall time, 0 to 1."""
        split = self.split(now)
        return split["productive"] / max(sum(split.values()), 1e-9)

    def _settle(self, now: float | None) -> float:
        now = time.time() if now is None else now
        activity = _ACTIVITY.get(self.state)
        if activity is not None:
            # A clock set back must not take time away.
            self.seconds[activity] = self.seconds.get(activity, 0.0) + max(now - self._since, 0.0)
        self._since = now
        return now


def _started(now: float | None, past: Past | None) -> tuple[float, Past]:
    """When this start was, and what was before it."""
    now, past = time.time() if now is None else now, past or Past()
    return now if past.submitted is None else min(past.submitted, now), past
