"""RECIPES: named runs, functions that return a complete config. `python -m trainer recipes` lists them."""

from collections.abc import Callable

from data_shards.loader import DataConfig
from model import MODELS
from trainer.config import BatchConfig, CheckpointConfig, EvaluationConfig, OptimConfig, RunConfig


def demo() -> RunConfig:
    """Object discovery on small sprites (32x32, T=8, K=2): minutes on a laptop's CPU."""
    return RunConfig(
        model=MODELS["object-discovery"](),
        data=DataConfig("demo/data"),
        batch=BatchConfig(size=16),
        optim=OptimConfig(lr=1e-3, clip_norm=1.0),
        checkpoint=CheckpointConfig(steps=200),
        evaluation=EvaluationConfig(steps=0),
        output="demo/run",
        steps=1200,
        log_steps=20,
    )


RECIPES: dict[str, Callable[[], RunConfig]] = {"demo": demo}
