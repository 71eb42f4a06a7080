"""The table of a sweep: a row for each trial, the best first."""

from collections.abc import Sequence

from cluster.tune.entrant import Entrant, shown
from cluster.tune.plan import Plan


def ranked(plan: Plan, entrants: Sequence[Entrant]) -> list[Entrant]:
    """The trials from the best last score to the worst; those without one come last, by their numbers."""
    sign = -1 if plan.mode == "max" else 1
    scored = [entrant for entrant in entrants if entrant.score is not None]
    others = [entrant for entrant in entrants if entrant.score is None]
    return sorted(scored, key=lambda entrant: (sign * (entrant.score or 0.0), entrant.number)) + others


def head(plan: Plan) -> list[str]:
    """What the columns are called."""
    return ["trial", plan.column, "step", *plan.space, "state"]


def cells(plan: Plan, entrants: Sequence[Entrant]) -> list[list[str]]:
    """A row for each trial, in the order of `ranked`."""
    return [
        [
            entrant.folder,
            "-" if entrant.score is None else shown(entrant.score),
            str(entrant.step),
            *[shown(entrant.values[path]) for path in plan.space],
            f"{entrant.state}: {entrant.why}" if entrant.why else entrant.state,
        ]
        for entrant in ranked(plan, entrants)
    ]


def as_text(plan: Plan, entrants: Sequence[Entrant]) -> str:
    """The table for a terminal."""
    rows = [head(plan), *cells(plan, entrants)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
