"""Verdict: what a disturbed run must have in common with an undisturbed one, in sentences where it has not."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from cluster.rehearsal.schedule import Blow

Lines = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What became of a fault.

    Attributes:
        blow: the fault.
        ends: exit codes of drivers that ended by it.
        told: the line by which the user heard of it; "" = there was none.
        recovered_s: from the fault to the next step that was done after it was over; None = there was none.
        stopped_s: that a driver took which was asked to save and end; None = none was.
        complaints: what was not as it must be.
    """

    blow: Blow
    ends: tuple[int, ...]
    told: str
    recovered_s: float | None
    stopped_s: float | None
    complaints: tuple[str, ...]


@dataclass(frozen=True)
class Figures:
    """Of one rehearsal. Recovery is of the faults by which workers or drivers ended, in seconds; so is a stop."""

    faults: int
    steps: int
    lost: int
    duplicated: int
    goodput: float
    recovery_median_s: float
    recovery_worst_s: float
    stop_worst_s: float


def compare(found: Lines, wanted: Lines, batch: int) -> tuple[int, int, list[str]]:
    """Samples that are lost from a history, samples that are in it twice, and sentences about them.

    A loss is a function of the weights and the batch of its step: equal losses at every step are equal batches.
    """
    expected = {line["step"]: line["loss"] for line in wanted}
    steps = [line["step"] for line in found]
    missing = sorted(expected.keys() - set(steps))
    twice = sorted({step for step in steps if steps.count(step) > 1} | (set(steps) - expected.keys()))
    other = [line["step"] for line in found if line["loss"] != expected.get(line["step"], line["loss"])]
    sentences = [
        f"{what} of {len(expected)} steps: {', '.join(map(str, which[:5]))}{' ...' if len(which) > 5 else ''}"
        for what, which in (
            (f"the history lacks {len(missing)}", missing),
            (f"the history has {len(twice)} twice or besides", twice),
            (f"losses differ at {len(other)}", other),
        )
        if which
    ]
    return len(missing) * batch, len(twice) * batch, sentences


def same_weights(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """A sentence unless the weights are equal, bit for bit."""
    other = [n for n in wanted if n not in found or not torch.equal(found[n], wanted[n])]
    other += [name for name in found if name not in wanted]
    return [f"final weights differ: {len(other)} of {len(wanted)}, such as {other[0]}"] if other else []


def figures(outcomes: Sequence[Outcome], found: Lines, wanted: Lines, batch: int) -> Figures:
    """The numbers of a rehearsal.

    Goodput is the time that the undisturbed run took for its steps over that which this one took, from the first to
    the last of them.
    """
    lost, duplicated, _ = compare(found, wanted, batch)
    times = [o.recovered_s for o in outcomes if o.recovered_s is not None and ended(o)]
    return Figures(
        faults=len(outcomes),
        steps=len(wanted),
        lost=lost,
        duplicated=duplicated,
        goodput=_span(wanted) / max(_span(found), 1e-9),
        recovery_median_s=statistics.median(times) if times else 0.0,
        recovery_worst_s=max(times, default=0.0),
        stop_worst_s=max((o.stopped_s for o in outcomes if o.stopped_s is not None), default=0.0),
    )


def ended(outcome: Outcome) -> bool:
    """Whether workers or drivers ended by the fault."""
    return bool(outcome.ends) or "worker lost" in outcome.told


def report(
    outcomes: Sequence[Outcome], found: Figures, complaints: Sequence[str], seed: int
) -> dict[str, Any]:
    """What rehearsal.json says."""
    return {
        "seed": seed,
        "figures": asdict(found),
        "complaints": list(complaints),
        "faults": [asdict(outcome) for outcome in outcomes],
    }


def _span(lines: Lines) -> float:
    return float(lines[-1]["time"] - lines[0]["time"]) if len(lines) > 1 else 0.0
