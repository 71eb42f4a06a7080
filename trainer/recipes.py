"""RECIPES: named runs, functions that return a complete config. `python -m trainer recipes` lists them."""

from collections.abc import Callable

from data_shards.loader import DataConfig
from model.object_discovery.config import Config as ObjectDiscovery
from model.schedule import Ramp
from trainer.config import BatchConfig, CheckpointConfig, EvaluationConfig, OptimConfig, RunConfig


def sprites(slots: int = 3) -> RunConfig:
    """Object discovery at the paper's scale: 64x64, T=11, three slots (model.slots=2 or 4 for the others)."""
    return RunConfig(
        model=ObjectDiscovery(slots=slots),
        data=DataConfig("runs/sprites"),
        batch=BatchConfig(size=32),
        optim=OptimConfig(lr=5e-4, clip_norm=1.0, weight_decay=2e-6, decay="exponential", decay_steps=6250),
        checkpoint=CheckpointConfig(steps=1250),
        evaluation=EvaluationConfig(steps=1250),
        output="runs/sprites-k3",
        steps=62_500,  # 100 epochs of 20,000 clips
        log_steps=25,
    )


def demo() -> RunConfig:
    """Object discovery on small sprites (32x32, T=8, K=2): minutes on a laptop's CPU."""
    return RunConfig(
        model=ObjectDiscovery(
            size=32,
            slots=2,
            width=24,
            hidden=24,
            kernel=3,
            stem_stride=2,
            reader_width=16,
            frame_difference=True,
            change_weight=5.0,
            alpha=Ramp(6.0, 12.0, 1000),
            temperature=Ramp(1.0, 0.4, 1000),
            sparsity=Ramp(0.0, 0.001, 1000),
            compactness=Ramp(0.0, 0.05, 1000),
        ),
        data=DataConfig("demo/data"),
        batch=BatchConfig(size=16),
        optim=OptimConfig(lr=1e-3, clip_norm=1.0),
        checkpoint=CheckpointConfig(steps=200),
        evaluation=EvaluationConfig(steps=400, clips=64),
        output="demo/run",
        steps=1200,
        log_steps=20,
    )


def video() -> RunConfig:
    """Object discovery on real video from a fixed camera: sizes as the data set's, four slots."""
    return RunConfig(
        model=ObjectDiscovery(size=64, slots=4, stem_stride=2, frame_difference=True, change_weight=5.0),
        data=DataConfig("runs/videos"),
        batch=BatchConfig(size=8),
        optim=OptimConfig(lr=5e-4, clip_norm=1.0),
        checkpoint=CheckpointConfig(steps=100),
        output="runs/video",
        steps=2000,
        log_steps=20,
    )


RECIPES: dict[str, Callable[[], RunConfig]] = {"demo": demo, "sprites": sprites, "video": video}
