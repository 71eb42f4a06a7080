"""Choosers: the values that the next trial has."""

import logging
from collections.abc import Mapping
from typing import Any

from ray.tune.search.optuna import OptunaSearch

from cluster.tune.domains import for_search
from cluster.tune.plan import Plan
from cluster.tune.space import Choice, Domain


class Chooser:
    """Random search: the values are a function of the seed and of the trial's number."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def choose(self, number: int) -> dict[str, Any]:
        """Values of the trial `number`; trials are asked for in order."""
        return self._plan.drawn(number)

    def learn(self, number: int, score: float | None) -> None:
        """A trial is over with this as its last score; None = it has failed."""


class Optuna(Chooser):
    """Optuna's tree-structured Parzen estimator, through Ray: values from where good ones were."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        logging.getLogger("optuna").setLevel(logging.WARNING)  # it tells of every trial
        self._choices = {path: domain for path, domain in plan.space.items() if isinstance(domain, Choice)}
        space = OptunaSearch.convert_search_space(for_search(_indexed(plan.space)))
        self._ray = OptunaSearch(space, metric="score", mode=plan.mode, seed=plan.seed)

    def choose(self, number: int) -> dict[str, Any]:
        """What Optuna asks for."""
        values = self._ray.suggest(str(number)) or {}
        return {
            path: self._choices[path].values[values[path]]
            if path in self._choices
            else domain.clipped(values[path])
            for path, domain in self._plan.space.items()
        }

    def learn(self, number: int, score: float | None) -> None:
        """Optuna learns of it."""
        result = None if score is None else {"score": score}
        self._ray.on_trial_complete(str(number), result, error=score is None)


def chooser_of(plan: Plan) -> Chooser:
    """The chooser of a plan's search."""
    return Optuna(plan) if plan.search == "optuna" else Chooser(plan)


def _indexed(space: Mapping[str, Domain]) -> dict[str, Domain]:
    """Choices by number: Optuna takes no lists or objects for values."""
    return {
        path: Choice(tuple(range(len(domain.values)))) if isinstance(domain, Choice) else domain
        for path, domain in space.items()
    }
