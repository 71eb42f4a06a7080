"""Runs of N-EM and R-NEM (arXiv 1802.10353) on bouncing balls."""

from typing import Any

from data_shards.loader import DataConfig
from model.expectation.model import NEM, RNEM, Expectation
from trainer.config import (
    BatchConfig,
    CheckpointConfig,
    EngineConfig,
    EvaluationConfig,
    OptimConfig,
    RunConfig,
)

FRAMES = 31  # 30 steps


def balls_r_nem() -> RunConfig:
    """R-NEM at the paper's scale, by the released settings: for sets of build bouncing-balls --train 50000.

    Adam with 0.001, 64 clips of 31 frames. The release stops after ten epochs without a better validation loss, of 500
    at most; a run of this recipe makes a hundred epochs.
    """
    return _expectation(RNEM(), "runs/balls-r-nem")


def balls_n_em() -> RunConfig:
    """N-EM beside it: the same without what slots do to one another."""
    return _expectation(NEM(), "runs/balls-n-em")


def _expectation(model: Expectation, output: str) -> RunConfig:
    return RunConfig(
        model=model,
        data=DataConfig("runs/bouncing-balls-binary"),
        batch=BatchConfig(size=64, frames=FRAMES),
        optim=OptimConfig(name="adam", lr=1e-3),
        checkpoint=CheckpointConfig(steps=2000),
        evaluation=EvaluationConfig(steps=2000, clips=640),
        output=output,
        steps=78_000,
        log_steps=100,
    )


def balls_demo_n_em() -> RunConfig:
    """N-EM beside balls-demo: on clips of the same sets, smaller, with normal pixels."""
    return _demo(NEM(**SMALL), "runs/balls-demo/n-em")


def balls_demo_r_nem() -> RunConfig:
    """R-NEM likewise."""
    return _demo(RNEM(**SMALL, attention=50), "runs/balls-demo/r-nem")


SMALL: dict[str, Any] = dict(
    size=16, channels=3, slots=4, hidden=100, features=256, maps=8, pixels="gaussian"
)


def _demo(model: Expectation, output: str) -> RunConfig:
    return RunConfig(
        model=model,
        data=DataConfig("runs/balls-demo/data"),
        batch=BatchConfig(size=16),
        optim=OptimConfig(name="adam", lr=1e-3),
        engine=EngineConfig(threads=1),
        checkpoint=CheckpointConfig(steps=250),
        evaluation=EvaluationConfig(steps=250, clips=64),
        output=output,
        steps=1000,
        log_steps=20,
    )
