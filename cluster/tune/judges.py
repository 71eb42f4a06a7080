"""Judges: which trials go on, by Ray's own schedulers, asked with what they need to know and nothing else.

A judge is a function of what it was told, in its order: told the same once more, it decides the same.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, PopulationBasedTraining

from cluster.tune.domains import for_population
from cluster.tune.plan import Plan

_SCORE, _TIME = "score", "step"


@dataclass(frozen=True)
class Change:
    """A trial takes the place of another: goes on from the weights of `donor`, with `values`."""

    donor: int
    values: dict[str, Any]


class Judge:
    """Lets all trials go on to their last step."""

    def enter(self, number: int) -> None:
        """A trial begins."""

    def goes_on(self, number: int, step: int, score: float) -> bool:
        """Whether a trial goes on after the score of a step that is not its last."""
        return True

    def gathers(self, step: int) -> bool:
        """Whether trials wait after this step until all have come to it, and `changes` is asked."""
        return False

    def changes(self, scores: Mapping[int, float], values: Mapping[int, dict[str, Any]]) -> dict[int, Change]:
        """Which of the trials that have gathered change, by their numbers."""
        return {}


class Halving(Judge):
    """Asynchronous successive halving (ASHA): stops a trial that is not among the best of those at its rung."""

    def __init__(self, plan: Plan) -> None:
        self._ray = AsyncHyperBandScheduler(
            time_attr=_TIME,
            metric=_SCORE,
            mode=plan.mode,
            max_t=plan.config.steps,
            grace_period=plan.grace,
            reduction_factor=plan.reduction,
        )

    def enter(self, number: int) -> None:
        """A trial begins."""
        self._ray.on_trial_add(_NOBODY, _named(number))

    def goes_on(self, number: int, step: int, score: float) -> bool:
        """Whether it is among the best at its rung so far."""
        said = self._ray.on_trial_result(_NOBODY, _named(number), {_TIME: step, _SCORE: score})
        return bool(said == AsyncHyperBandScheduler.CONTINUE)


class Population(Judge):
    """Population based training: now and then the worst go on from weights and values of the best, a little changed."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._generation = 0

    def gathers(self, step: int) -> bool:
        """Every `grace` steps."""
        return step % self._plan.grace == 0

    def changes(self, scores: Mapping[int, float], values: Mapping[int, dict[str, Any]]) -> dict[int, Change]:
        """Ray's decision, with draws that are a function of the seed and of how often it was asked."""
        self._generation += 1
        key = f"{self._plan.seed} {self._generation}"
        random.seed(key)
        np.random.seed(random.Random(key).getrandbits(32))  # noqa: NPY002 (Ray's domains draw from it)
        trials = [Stand(number, dict(values[number])) for number in sorted(scores)]
        scheduler = PopulationBasedTraining(
            time_attr=_TIME,
            metric=_SCORE,
            mode=self._plan.mode,
            perturbation_interval=1,
            hyperparam_mutations=for_population(self._plan.space),
            custom_explore_fn=self._clipped,
            log_config=False,
            synch=True,
        )
        asked: Any = scheduler  # of stand-ins
        crowd = Crowd(trials)
        for trial in trials:
            asked.on_trial_add(crowd, trial)
        for trial in trials:  # with the last of them it decides about all
            asked.on_trial_result(crowd, trial, {_TIME: 1, _SCORE: scores[trial.number]})
        return {
            trial.number: Change(trial.donor, trial.config) for trial in trials if trial.donor is not None
        }

    def _clipped(self, values: dict[str, Any]) -> dict[str, Any]:
        """Ray multiplies by 0.8 or 1.2, whether that is in the space or not."""
        return {path: domain.clipped(values[path]) for path, domain in self._plan.space.items()}


@dataclass(eq=False)
class Stand:
    """Stands in for one of Ray's trials, as far as its population scheduler looks at them: one that has paused."""

    number: int
    config: dict[str, Any]
    donor: int | None = None
    status: str = "PAUSED"
    temporary_state: Any = field(default_factory=lambda: SimpleNamespace(saving_to=None))

    @property
    def trial_id(self) -> str:
        """Its name."""
        return str(self.number)

    @property
    def experiment_tag(self) -> str:
        """Its name."""
        return str(self.number)

    @property
    def checkpoint(self) -> int:
        """What others go on from: the trial's number stands for it."""
        return self.number + 1  # Ray takes 0 for none

    @property
    def run_metadata(self) -> Any:
        """Where Ray puts the checkpoint to go on from."""
        return SimpleNamespace(checkpoint_manager=_Clone(self))

    def is_finished(self) -> bool:
        """No: those that have are not asked about."""
        return False

    def set_config(self, config: dict[str, Any]) -> None:
        """Called by Ray with new values."""
        self.config = config

    def set_experiment_tag(self, tag: str) -> None:
        """Called by Ray; nobody reads it."""


class _Clone:
    """Notes whose checkpoint a trial is given."""

    checkpoint_config = SimpleNamespace(num_to_keep=None)

    def __init__(self, stand: Stand) -> None:
        object.__setattr__(self, "stand", stand)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__["stand"].donor = value.checkpoint - 1


class Crowd:
    """Stands in for Ray's controller of trials."""

    search_alg = None

    def __init__(self, trials: Sequence[Stand]) -> None:
        self._trials = list(trials)

    def get_trials(self) -> list[Stand]:
        """All of them."""
        return self._trials

    def get_live_trials(self) -> list[Stand]:
        """All of them."""
        return self._trials


_NOBODY: Any = None  # halving asks the controller nothing


def _named(number: int) -> Any:
    return SimpleNamespace(trial_id=str(number))


def judge_of(plan: Plan) -> Judge:
    """The judge of a plan's schedule."""
    if plan.schedule == "asha":
        return Halving(plan)
    return Population(plan) if plan.schedule == "pbt" else Judge()
