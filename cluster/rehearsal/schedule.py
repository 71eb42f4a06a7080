"""Schedule: which fault comes when, to which rank, for how long: a pure function of the seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GAP = 16  # steps from the beginning of one round to that of the next
SAVED = 5  # steps between two checkpoints of a rehearsed run
_SPARED = 4  # at a round's beginning: the fault before is over, and the run goes again


@dataclass(frozen=True)
class Blow:
    """One fault of a rehearsal.

    Attributes:
        number: from 1 up.
        kind: a name of FAULTS.
        step: after which it comes.
        worker: whom it hits, where it is of one: its place among their process ids.
        seconds: that it lasts, where it lasts.
        where: from 0 to 1, for what else there is to choose.
    """

    number: int
    kind: str
    step: int
    worker: int
    seconds: float
    where: float


def schedule(
    seed: int,
    rounds: int,
    kinds: Sequence[str],
    world: int,
    lasts: Mapping[str, tuple[float, float]],
    epoch: float,
    runs_on: Mapping[str, int],
) -> tuple[Blow, ...]:
    """The faults of a rehearsal, in the order in which they come, each kind as often as another but for one time.

    Args:
        seed: of all that is drawn.
        rounds: how many.
        kinds: names of faults.
        world: ranks there are.
        lasts: seconds, least and most, of kinds that last.
        epoch: steps of an epoch, at whose end the kinds come that are called so.
        runs_on: steps that the run may do before a fault of a kind is over, in addition to those of a round.
    """
    draw = random.Random(seed).random  # of which Python promises the same numbers in every release
    blows: list[Blow] = []
    deck: list[str] = []
    later = 0
    for number in range(1, rounds + 1):
        if not deck:
            deck = [kinds[i] for i in sorted(range(len(kinds)), key=[draw() for _ in kinds].__getitem__)]
        kind = deck.pop()
        first = number * GAP + _SPARED + later
        later += runs_on.get(kind, 0)
        step = first + int(draw() * (GAP - _SPARED))
        if kind.endswith("-at-epoch"):
            step = _boundary(first, epoch)
        least, most = lasts.get(kind, (0.0, 0.0))
        blows.append(Blow(number, kind, step, int(draw() * world), least + (most - least) * draw(), draw()))
    return tuple(blows)


def last_step(blows: Sequence[Blow], runs_on: Mapping[str, int]) -> int:
    """The steps of a run that is long enough for all of them."""
    last = blows[-1]
    return last.step + 2 * GAP + runs_on.get(last.kind, 0)


def _boundary(first: int, epoch: float) -> int:
    """The last step of the epoch that ends at `first` or next after it."""
    number = -(-first // epoch)
    return round(number * epoch)
