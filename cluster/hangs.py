"""Hangs: by the heartbeats of all ranks, whether one does not come forward, and which one it is.

Progress is not being alive: in a group that waits for one rank, all others are alive and wait in a collective.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from monitoring.heartbeat import Beat, bound
from monitoring.run_state import RunState

PROCESS_S = 60.0  # for any sign of life of a process that starts, saves or evaluates
_BLIND_S = 5.0  # between two looks: after that, nothing is held against anybody for _AGAIN_S
_AGAIN_S = 3.0


@dataclass(frozen=True)
class Seen:
    """The last heartbeat that came of a rank, `age_s` seconds ago."""

    beat: Beat
    age_s: float


@dataclass(frozen=True)
class Hang:
    """Ranks that do not come forward.

    Attributes:
        kind: "stopped" = nothing is heard of the process; "blocked" = it answers, and its loop does not move.
        ranks: those behind all others.
        seconds: for so long.
        step: that they are in, counted from 1.
        place: the phase of it, "" = none.
    """

    kind: Literal["stopped", "blocked"]
    ranks: tuple[int, ...]
    seconds: float
    step: int
    place: str = ""

    def words(self) -> str:
        """What has happened to such a rank."""
        where = f"step {self.step}" + (f" ({self.place})" if self.place else "")
        if self.kind == "stopped":
            return f"stopped answering {self.seconds:.0f} s ago, in {where}"
        return f"stuck for {self.seconds:.0f} s in {where}"


def limit(seen: Mapping[int, Seen]) -> float | None:
    """Seconds of silence in a step that are one of ours no more; None = no rank has done enough steps to tell."""
    usual = [each.beat.p99_s for each in seen.values() if each.beat.p99_s is not None]
    return bound(min(usual)) if usual else None


def judge(seen: Mapping[int, Seen], world: int, store_s: float) -> Hang | None:
    """Whether the group hangs, and by whom.

    Nobody hangs who starts, does its first step, saves, evaluates, or waits for data: the store that it waits for
    gives up by itself. But of each process something is heard all the time, whatever its loop does.

    Args:
        seen: of each rank that was heard of.
        world: number of ranks.
        store_s: seconds that a store is asked before it gives up.
    """
    if not seen or any(each.beat.state.final for each in seen.values()):
        return None
    within = limit(seen)
    silent = [
        rank
        for rank, each in seen.items()
        if each.age_s > (_silence(each.beat, within) if within else PROCESS_S)
    ]
    if silent:
        first = min(silent, key=lambda rank: seen[rank].beat.marks)
        return _hang("stopped", silent, seen, max(seen[rank].age_s for rank in silent), first)
    if within is None or len(seen) < world:
        return None
    fewest = min(each.beat.marks for each in seen.values())
    behind = [rank for rank, each in seen.items() if each.beat.marks == fewest]
    beats = [seen[rank].beat for rank in behind]
    if any(beat.state is not RunState.TRAINING or beat.p99_s is None for beat in beats):
        return None
    still = min(beat.still_s for beat in beats)
    if still <= within + (store_s if beats[0].phase == "data" else 0.0):
        return None
    return _hang("blocked", behind, seen, still, behind[0])


def narrowed(hang: Hang, waiting: Mapping[int, bool]) -> Hang:
    """The same of fewer ranks: of those in one place, some wait in a collective for the others.

    Args:
        hang: to narrow.
        waiting: of each rank that has answered, whether it waits for others.
    """
    others = tuple(rank for rank in hang.ranks if not waiting.get(rank, False))
    return replace(hang, ranks=others) if others else hang


def _silence(beat: Beat, within: float) -> float:
    in_a_step = beat.state is RunState.TRAINING and beat.p99_s is not None
    return within if in_a_step else max(PROCESS_S, within)


def _hang(
    kind: Literal["stopped", "blocked"],
    ranks: list[int],
    seen: Mapping[int, Seen],
    seconds: float,
    first: int,
) -> Hang:
    beat = seen[first].beat
    return Hang(kind, tuple(sorted(ranks)), seconds, beat.step + 1, beat.phase)


class Watcher:
    """Judges what it is shown about once a second, and says so when it has come to the same twice in a row.

    A watcher that could not look for some time, for its machine was busy or asleep, begins anew.

    Args:
        store_s: as for `judge`.
        clock: seconds.
    """

    def __init__(self, store_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._store_s, self._clock = store_s, clock
        self._looked = clock()
        self._blind_until = -float("inf")
        self._before: tuple[str, tuple[int, ...]] | None = None

    def look(self, seen: Mapping[int, Seen], world: int) -> Hang | None:
        """The hang, if there is one."""
        now = self._clock()
        if now - self._looked > _BLIND_S:
            self._blind_until = now + _AGAIN_S
        self._looked = now
        hang = None if now < self._blind_until else judge(seen, world, self._store_s)
        found = (hang.kind, hang.ranks) if hang else None
        sure, self._before = found is not None and found == self._before, found
        return hang if sure else None
