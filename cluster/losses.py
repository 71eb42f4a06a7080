"""Losses: which rank a group was lost by, where that was, and what happened there.

When a process goes, those that it leaves fail a moment earlier or later in a collective, and say so at length. What
they say is told only where nobody is found who is gone.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cluster.board import Failure, Heard, Place
from cluster.hangs import Hang

PATIENCE_S = 15.0  # for Ray to find out that a machine is lost, where all else is what the others say
MACHINE_S = 2.0  # for the same, where a process of it is known to be gone
_UNHEARD_S = 3.0  # of a rank, while others are heard of


@dataclass(frozen=True)
class Loss:
    """One loss of a group, as far as is known at once.

    Attributes:
        failures: by rank, what Ray's controller has found.
        places: where the ranks were.
        hang: for which the driver has ended the group.
        unheard: ranks of which nothing had been heard for seconds when it failed, while others were heard.
        since: when, by time.monotonic().
    """

    failures: Mapping[int, Failure]
    places: Mapping[int, Place] = field(default_factory=dict)
    hang: Hang | None = None
    unheard: tuple[int, ...] = ()
    since: float = field(default_factory=time.monotonic)

    def causes(self, dead_nodes: Callable[[], set[str]], waited_s: float) -> dict[str, str] | None:
        """What to say, by rank and place; None = more may be known soon.

        Args:
            dead_nodes: asked for Ray's numbers of machines that have left the cluster.
            waited_s: seconds since the loss; infinite = whatever is known must do.
        """
        if self.hang is not None:
            return self._named(dict.fromkeys(self.hang.ranks, self.hang.words()))
        dead = dead_nodes() if self.places else set()
        lost = {
            rank: f"its machine has left the cluster (Ray's node {place.node[:8]})"
            for rank, place in self.places.items()
            if place.node in dead
        }
        if lost:
            return self._named(lost)
        gone = {rank: each.words for rank, each in self.failures.items() if each.gone}
        own = {rank: each.words for rank, each in self.failures.items() if not each.gone and not each.peer}
        if gone or own:
            return self._named(own | gone) if own or waited_s > MACHINE_S else None
        if waited_s <= PATIENCE_S:
            return None
        silent = dict.fromkeys(self.unheard, "nothing more was heard of it")
        return self._named(silent or {rank: each.words for rank, each in self.failures.items()})

    def _named(self, words: Mapping[int, str]) -> dict[str, str]:
        return {called(rank, self.places.get(rank)): said for rank, said in sorted(words.items())}


def called(rank: int, place: Place | None) -> str:
    """A rank by its number and, where that is known, host and process."""
    return f"rank {rank}" if place is None else f"rank {rank} on {place.host}, process {place.pid}"


def unheard(heard: Mapping[int, Heard]) -> tuple[int, ...]:
    """Ranks whose last heartbeat is much older than the newest of all."""
    newest = min((each.age_s for each in heard.values()), default=0.0)
    return tuple(rank for rank, each in sorted(heard.items()) if each.age_s > newest + _UNHEARD_S)
