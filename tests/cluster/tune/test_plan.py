"""A plan is checked against its config before anything starts, and gives each trial a config of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.commands import tune
from cluster.config import ClusterConfig
from cluster.tune.plan import FIXED, Plan
from data_shards.commands import Command
from tests.cluster.tune.plans import plan_to
from trainer.overrides import resolve

WORDS = ("demo", "steps=100", "evaluation.steps=10", "--metric", "val/psnr")
LR = ("--space", "optim.lr=loguniform(1e-5,1e-2)")


def planned(*words: str) -> Plan:
    return tune.plan_of(Command("", "cluster.commands.tune").parser().parse_intermixed_args(words))


def test_the_words_are_a_plan() -> None:
    plan = planned(*WORDS, *LR, "--trials", "5", "--schedule", "asha", "output=runs/sweep")
    assert (plan.metric, plan.mode, plan.column) == ("psnr", "max", "val/psnr")
    assert (plan.trials, plan.at_once, plan.search, plan.schedule, plan.grace) == (5, 2, "random", "asha", 10)
    assert plan.asked.output == plan.config.output == "runs/sweep"
    assert planned(*WORDS[:3], *LR, "--metric", "val/mse").mode == "min"
    assert planned(*WORDS, *LR, "--mode", "min").mode == "min"


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ("optim.rate=uniform(0,1)", r"--space optim.rate: field optim.rate does not exist"),
        ("optim.lr=uniform(0,1)", "--space optim.lr: field optim.lr: got 0, input should be greater than 0"),
        ("optim.alpha=uniform(0.5,1)", "field optim.alpha: got 1, input should be less than 1; such as"),
        ("optim.decay_steps=uniform(1,9)", "field optim.decay_steps: got 5.944, "),
        ("optim.lr=choice(0.1,fast)", "field optim.lr: got 'fast', input should be a valid number"),
        ("optim.name=choice(adam,adamw)", "field optim.name: got 'adamw', input should be"),
        ("optim=choice(1,2)", "field optim is a group"),
        ("model.width=randint(0,9)", "model.width"),
        ("batch.micro=choice(2,5)", "no multiple of batch.micro x workers = 5 x 1"),
    ],
)
def test_a_space_that_the_config_does_not_take_is_refused(space: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        planned(*WORDS, "--space", space)


@pytest.mark.parametrize("field", FIXED)
def test_what_trials_are_compared_by_is_not_searched(field: str) -> None:
    with pytest.raises(ValueError, match=f"--space {field}: it is the same for all trials"):
        planned(*WORDS, "--space", f"{field}=choice(1,2)")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((*WORDS,), "--space: nothing is searched"),
        ((*WORDS[:3], *LR, "--metric", "val/psnrr"), r"no such score \(did you mean psnr\?\)"),
        ((*WORDS[:3], *LR, "--metric", "psnr"), "write SPLIT/NAME"),
        (
            (*WORDS[:3], *LR, "--metric", "test/psnr"),
            "scored on val; write --metric val/psnr, or evaluation.split=test",
        ),
        (
            (*WORDS, *LR, "evaluation.steps=0"),
            "evaluation.steps is 0, nothing is scored; write evaluation.steps=10",
        ),
        ((*WORDS, *LR, 'stages=[{"overrides":{}}]'), "field stages: a sweep is of single runs"),
        ((*WORDS, *LR, "--trials", "0"), "--trials: got 0, must be at least 1"),
        ((*WORDS, *LR, "--schedule", "pbt"), "write --max-concurrent 8"),
        (
            (*WORDS, *LR, "--schedule", "pbt", "--max-concurrent", "8", "--search", "optuna"),
            "leave --search out",
        ),
        (
            (*WORDS, *LR, "--schedule", "asha", "--grace", "15"),
            "--grace: got 15, needs a multiple of evaluation.steps",
        ),
        ((*WORDS, *LR, "--schedule", "asha", "--grace", "200"), "--grace: got 200"),
        ((*WORDS, *LR, "--schedule", "asha", "--reduction", "1"), "--reduction: got 1"),
        (
            (*WORDS, "--space", "model.width=choice(4,8)", "--schedule", "pbt", "--max-concurrent", "8"),
            "--space model.width: pbt goes on from another trial's weights",
        ),
    ],
)
def test_words_that_do_not_go_together_are_refused(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        planned(*words)


def test_a_trial_has_its_values_its_output_and_its_share(tmp_path: Path) -> None:
    plan = plan_to(str(tmp_path), "checkpoint.steps=500", "monitoring.port=9400", at_once=4)
    trial = plan.trial({"optim.lr": 0.5, "optim.name": "sgd"}, "elsewhere/trial-03")
    assert (trial.optim.lr, trial.optim.name, trial.output) == (0.5, "sgd", "elsewhere/trial-03")
    assert trial.scaling.cpus == 1
    assert trial.monitoring.port == 0  # four trials cannot have one port
    assert trial.checkpoint.steps == 10  # where it is scored, it can go on
    same = trial.model_dump(exclude={"optim", "output", "scaling", "monitoring", "checkpoint"})
    assert same == plan.asked.model_dump(exclude={"optim", "output", "scaling", "monitoring", "checkpoint"})


def test_values_that_do_not_go_together_are_the_trials_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no multiple"):
        plan_to(str(tmp_path)).trial({"batch.micro": 5}, "x")


def test_a_population_keeps_what_others_may_go_on_from(tmp_path: Path) -> None:
    plan = plan_to(str(tmp_path), "checkpoint.keep=1", schedule="pbt", at_once=8)
    assert plan.config.checkpoint.keep == 8


@pytest.mark.parametrize("change", [{}, {"seed": 1}, {"space": ("optim.lr=uniform(1,2)",)}])
def test_a_plan_is_described_by_what_changes_what_it_does(change: dict[str, Any], tmp_path: Path) -> None:
    here, other = plan_to(str(tmp_path)), plan_to(str(tmp_path), **change)
    assert (json.dumps(here.described()) == json.dumps(other.described())) == (not change)


def test_draws_of_a_trial_do_not_depend_on_the_other_fields(tmp_path: Path) -> None:
    def values(*space: str) -> dict[str, Any]:
        return plan_to(str(tmp_path), space=space).drawn(3)

    one, two = "optim.lr=loguniform(1e-5,1e-2)", "optim.alpha=uniform(0.5,0.9)"
    assert values(one, two)["optim.lr"] == values(one)["optim.lr"]
    assert resolve("demo", [], ClusterConfig).optim.lr != values(one)["optim.lr"]
