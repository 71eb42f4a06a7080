"""The page of a sweep: the best, what values are good, all trials, how each went. Data in, HTML out."""

import math
from collections.abc import Sequence

from cluster.tune.entrant import Entrant, shown, words
from cluster.tune.plan import Plan
from cluster.tune.space import Choice, Domain, LogUniform
from cluster.tune.table import cells, head, ranked
from trainer.evaluation.result import label, number
from trainer.pictures.coordinates import Axis, Line, parallel_coordinates
from trainer.pictures.plots import line_chart
from trainer.report import markup

READING = (
    "Each line is a trial: where it crosses an axis is the value that it had, and where it ends on the right its last "
    "score. Bright lines are the best, dotted ones failed. Where the bright lines cross an axis close together, the "
    "value matters; where they are spread, it does not."
)
_MARKS = 5
_TOGETHER = 5  # curves in one drawing: each has a colour of its own


def build_page(plan: Plan, entrants: Sequence[Entrant], command: str) -> str:
    """The whole page as HTML text.

    Args:
        plan: of the sweep.
        entrants: how its trials have ended.
        command: what trains the best config.
    """
    title = f"Sweep of {plan.asked.recipe or 'a config'}: {plan.trials} trials by {plan.column}"
    rows, order = cells(plan, entrants), ranked(plan, entrants)
    body = [
        markup.text("h1", title),
        markup.text("p", summary(plan, order)),
        markup.tiles(tiles(plan, order)),
        markup.text("h2", "What values are good"),
        markup.text("p", READING),
        markup.wide(coordinates(plan, order), alt(plan, order)),
        markup.text("h2", "Trials"),
        markup.table(head(plan), rows, [entrant is order[0] for entrant in order]),
        markup.text("h2", f"{label(plan.metric)} over training"),
        markup.charts(curves(plan, order)),
        markup.text("h2", "What was asked"),
        markup.facts(asked(plan)),
        markup.text("p", "To train the best config once more:"),
        markup.text("pre", command),
    ]
    return markup.document(title, body)


def summary(plan: Plan, order: Sequence[Entrant]) -> str:
    """What came of it, in a sentence or two."""
    best = order[0]
    if best.score is None:
        return f"No trial came to a score. The first failed of this: {best.why}"
    second = next((entrant for entrant in order[1:] if entrant.score is not None), None)
    after = f", after trial {second.number} with {number(second.score)}" if second else ""
    what = f"{number(best.score)} at step {best.step:,}"
    return f"Trial {best.number} is the best with {what}{after}: {words(best.values)}."


def tiles(plan: Plan, order: Sequence[Entrant]) -> list[tuple[str, str, list[str]]]:
    """The best score, what became of the trials, and what they cost."""
    states = [entrant.state for entrant in order]
    others = [f"{states.count(name)} {name}" for name in ("stopped", "failed") if name in states]
    steps, whole = sum(entrant.step for entrant in order), plan.trials * plan.config.steps
    return [
        (number(order[0].score), f"{plan.column}, the best", [f"trial {order[0].number}"]),
        (f"{states.count('finished')}", "trials finished", others),
        (f"{steps:,}", "optimiser steps", [f"{steps / whole:.0%} of all trials to their end"]),
    ]


def coordinates(plan: Plan, order: Sequence[Entrant]) -> str:
    """The trials as lines over the fields that were searched, and their scores."""
    scores = [entrant.score for entrant in order if entrant.score is not None]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    spread = (high - low) or 1.0
    axes = [Axis(path, marks(domain)) for path, domain in plan.space.items()]
    ends = {(score - low) / spread: number(score) for score in (low, high)} if scores else {}
    axes.append(Axis(plan.column, list(ends.items())))
    lines = []
    for entrant in order:
        end = None if entrant.score is None else (entrant.score - low) / spread
        places = [place(domain, entrant.values[path]) for path, domain in plan.space.items()]
        shade = end if plan.mode == "max" or end is None else 1 - end
        failed = entrant.state == "failed"
        lines.append(Line(f"trial {entrant.number}", [*places, end], None if failed else shade))
    return parallel_coordinates(axes, lines)


def alt(plan: Plan, order: Sequence[Entrant]) -> str:
    """The same in words."""
    best = "; ".join(f"{number(entrant.score)} with {words(entrant.values)}" for entrant in order[:3])
    return f"Parallel coordinates of {', '.join(plan.space)} and {plan.column}. The best: {best}"


def place(domain: Domain, value: object) -> float:
    """Where a value is on its axis, from 0 to 1."""
    if isinstance(domain, Choice):
        return domain.values.index(value) / max(len(domain.values) - 1, 1)
    low, *_, high = domain.probes()
    assert isinstance(value, int | float)
    if isinstance(domain, LogUniform):
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / ((high - low) or 1))


def marks(domain: Domain) -> list[tuple[float, str]]:
    """The marks of an axis: all values of a choice, powers of ten of a logarithmic one, or evenly spread numbers."""
    if isinstance(domain, Choice):
        return [(place(domain, value), shown(value)) for value in domain.values]
    low, *_, high = domain.probes()
    if isinstance(domain, LogUniform):
        powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        inner = [10.0**power for power in powers]
        values = inner if len(inner) > 1 else [low, high]
    elif isinstance(low, int) and high - low < _MARKS:
        values = [float(value) for value in range(low, high + 1)]
    else:
        values = [low + (high - low) * i / (_MARKS - 1) for i in range(_MARKS)]
    return [(place(domain, value), f"{value:.3g}") for value in values]


def curves(plan: Plan, order: Sequence[Entrant]) -> list[tuple[str, str]]:
    """The scores of all trials over their steps, the best in the first drawing."""
    drawings = []
    scored = [entrant for entrant in order if entrant.scores]
    for first in range(0, len(scored), _TOGETHER):
        some = scored[first : first + _TOGETHER]
        lines = {f"trial {each.number}": (list(each.scores), list(each.scores.values())) for each in some}
        names = ", ".join(lines)
        drawings.append(
            (line_chart(names, lines, "step", whole=True), f"{plan.column} over steps of {names}")
        )
    return drawings


def asked(plan: Plan) -> dict[str, str]:
    """The words of the command, as facts."""
    facts = {"space": "; ".join(plan.words), "metric": f"{plan.column}, {plan.mode}", "search": plan.search}
    facts["schedule"] = plan.schedule
    if plan.schedule != "none":
        facts["grace"] = f"{plan.grace} steps"
    if plan.schedule == "asha":
        facts["reduction"] = f"{plan.reduction:g}"
    facts |= {"trials": f"{plan.trials}, {plan.at_once} at a time", "seed": str(plan.seed)}
    facts |= {"steps of a trial": f"{plan.config.steps:,}, scored every {plan.config.evaluation.steps:,}"}
    return facts | {"data": plan.asked.data.url, "output": plan.asked.output}
