"""Plan: what a sweep is to do, checked against the config before anything starts."""

import copy
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.config import ClusterConfig
from cluster.tune.space import Choice, Domain
from data_shards.mistake import UserError
from trainer.config import RunConfig
from trainer.overrides import validated
from trainer.remedies import nearest, put
from trainer.scores import SCORES

SEARCHES = ("random", "optuna")
SCHEDULES = ("none", "asha", "pbt")

FIXED = (
    "recipe",
    "output",
    "stages",
    "steps",
    "evaluation",
    "checkpoint",
    "monitoring",
    "scaling",
    "ray",
)
"""Fields and groups that are the same for all trials of a sweep: what they differ in could not be compared."""


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Attributes:
        asked: the config as the user wrote it; its output is the sweep's.
        config: the same with a trial's share of the machines.
        space: the domain of each field that is searched; the words that say so are in `words`.
        words: the same as the user wrote it.
        metric: name of a score on config.evaluation.split.
        mode: max or min.
        trials: how many.
        at_once: at most so many at a time.
        search: where values come from, of SEARCHES.
        schedule: which trials are stopped or changed on the way, of SCHEDULES.
        seed: of all that is drawn.
        grace: optimiser steps before a schedule's first decision; between two of `pbt`.
        reduction: `asha` lets one of so many on to the next rung.
    """

    asked: ClusterConfig
    config: ClusterConfig
    space: Mapping[str, Domain]
    words: tuple[str, ...]
    metric: str
    mode: str
    trials: int
    at_once: int
    search: str
    schedule: str
    seed: int
    grace: int
    reduction: float

    @property
    def better(self) -> Callable[[float, float], bool]:
        """Whether the first score is better than the second."""
        return (lambda a, b: a > b) if self.mode == "max" else (lambda a, b: a < b)

    @property
    def column(self) -> str:
        """What the score is called: val/fg_ari_video."""
        return f"{self.config.evaluation.split}/{self.metric}"

    def described(self) -> dict[str, Any]:
        """As JSON: two sweeps with the same description do the same."""
        return {
            "space": list(self.words),
            "metric": self.column,
            "mode": self.mode,
            "trials": self.trials,
            "at_once": self.at_once,
            "search": self.search,
            "schedule": self.schedule,
            "seed": self.seed,
            "grace": self.grace,
            "reduction": self.reduction,
            "config": self.asked.model_dump(mode="json"),
        }

    def drawn(self, number: int) -> dict[str, Any]:
        """Values of the trial `number` from a random search: a function of it and the seed."""
        return {
            path: domain.draw(random.Random(f"{self.seed} {number} {path}"))
            for path, domain in self.space.items()
        }

    def trial(self, values: Mapping[str, Any], output: str) -> ClusterConfig:
        """The config of a trial.

        Raises:
            UserError: the values do not go together.
        """
        return _with_values(self.config, values, output)

    def recipe(self, values: Mapping[str, Any]) -> RunConfig:
        """The config of a run with the values of a trial, as the user would have written it."""
        return _with_values(self.asked, values, f"{self.asked.output}/best").run()


def shared(config: ClusterConfig, at_once: int, schedule: str, cpus: int | None) -> ClusterConfig:
    """The config of a trial that has its share of the machines.

    Args:
        config: as the user wrote it.
        at_once: trials at a time.
        schedule: of the sweep.
        cpus: cores of a worker, where the user does not say; None = Ray's choice.
    """
    every, saved = config.evaluation.steps, config.checkpoint.steps
    # A trial goes on from a score, or from another's: there is a checkpoint wherever it is scored.
    saved = saved if every % saved == 0 else every
    # The donor may be ahead, and nobody knows yet which trial is to be one.
    keep = -(-config.steps // saved) if schedule == "pbt" else config.checkpoint.keep
    update: dict[str, Any] = {
        "checkpoint": config.checkpoint.model_copy(update={"steps": saved, "keep": keep})
    }
    if config.scaling.cpus is None:
        update["scaling"] = config.scaling.model_copy(update={"cpus": cpus})
    if config.monitoring.port and at_once > 1:  # it can be one trial's alone
        update["monitoring"] = config.monitoring.model_copy(update={"port": 0})
    return config.model_copy(update=update)


def require_space(space: Mapping[str, Domain], resolved: Callable[[str], ClusterConfig]) -> None:
    """UserError where a config does not take all values of a space.

    Args:
        space: to look at.
        resolved: the config with one override more; UserError where it does not fit.
    """
    if not space:
        raise UserError(
            "--space: nothing is searched; give FIELD=EXPR, such as optim.lr=loguniform(1e-5,1e-2)"
        )
    for path, domain in space.items():
        if path.split(".")[0] in FIXED:
            raise UserError(
                f"--space {path}: it is the same for all trials of a sweep; set it as {path}=VALUE"
            )
        for value in domain.probes():
            try:
                resolved(f"{path}={_word(value)}").check()
            except UserError as error:
                raise UserError(f"--space {path}: {error}") from None


def require_metric(name: str, mode: str | None, config: ClusterConfig) -> tuple[str, str]:
    """The score that SPLIT/NAME names and which way is better.

    Raises:
        UserError: trials would not measure it.
    """
    split, slash, score = name.partition("/")
    if not slash or score not in SCORES:
        hint = nearest(score or split, SCORES)
        raise UserError(
            f"--metric {name}: there is no such score{hint}; write SPLIT/NAME, NAME one of {', '.join(SCORES)}"
        )
    if split != config.evaluation.split:
        raise UserError(
            f"--metric {name}: trials are scored on {config.evaluation.split}; write "
            f"--metric {config.evaluation.split}/{score}, or evaluation.split={split}"
        )
    if not config.evaluation.steps:
        raise UserError(
            f"--metric {name}: evaluation.steps is 0, nothing is scored; write evaluation.steps="
            f"{max(config.steps // 10, 1)}"
        )
    return score, mode or ("max" if SCORES[score].higher_is_better else "min")


def require_together(plan: Plan) -> None:
    """UserError where what a plan says does not go together."""
    if plan.config.stages:
        raise UserError("field stages: a sweep is of single runs; write stages=[]")
    every, steps = plan.config.evaluation.steps, plan.config.steps
    if plan.schedule != "none" and (plan.grace % every or not 0 < plan.grace < steps):
        raise UserError(
            f"--grace: got {plan.grace}, needs a multiple of evaluation.steps = {every} below steps = {steps}, such as "
            f"--grace {every}; or score more often"
        )
    if plan.schedule == "asha" and not plan.reduction > 1:
        raise UserError(f"--reduction: got {plan.reduction:g}, needs a number above 1, such as --reduction 4")
    if plan.schedule == "pbt":
        _require_population(plan)


def _require_population(plan: Plan) -> None:
    if plan.search != "random":
        raise UserError(f"--search {plan.search}: pbt changes values by itself; leave --search out")
    if not 2 <= plan.trials <= plan.at_once:
        raise UserError(
            f"--schedule pbt: got --trials {plan.trials} and --max-concurrent {plan.at_once}, needs at least 2 trials, "
            f"all at once; write --max-concurrent {max(plan.trials, 2)}"
        )
    for path, domain in plan.space.items():
        if path == "seed" or path.split(".")[0] in ("model", "data", "start"):
            raise UserError(
                f"--space {path}: pbt goes on from another trial's weights, it must stay; search optim.*"
            )
        if isinstance(domain, Choice) and len(domain.values) < 2:
            raise UserError(f"--space {path}: pbt needs at least two values to choose from")


def _with_values(config: ClusterConfig, values: Mapping[str, Any], output: str) -> ClusterConfig:
    tree = config.model_dump(mode="json")
    before = copy.deepcopy(tree)
    for path, value in values.items():
        put(tree, path, value)
    made = validated(tree | {"output": output}, ClusterConfig, before)
    made.check()
    return made


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
