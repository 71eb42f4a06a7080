"""Runs of object discovery by prediction (arXiv 2103.05669)."""

from dataclasses import replace

from data_shards.loader import DataConfig
from model.object_discovery.model import Config as ObjectDiscovery
from model.schedule import Ramp
from trainer.config import (
    BatchConfig,
    CheckpointConfig,
    EngineConfig,
    EvaluationConfig,
    OptimConfig,
    RunConfig,
)

# Maps this small gain nothing from a second thread, and lose tenfold on a machine that is busy otherwise.
ONE_THREAD = EngineConfig(threads=1)


def sprites() -> RunConfig:
    """Object discovery at the paper's scale: 64x64, T=11, three slots (model.slots=2 or 4 for the others)."""
    return RunConfig(
        model=ObjectDiscovery(),
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
        model=replace(
            led_slots(size=32, slots=2, background_width=0),
            mask_bias=-6.0,
            starts="clip",
            recognition=True,
            evidence="looks",
            inertia=True,
            sinkhorn_iterations=6,
        ),
        data=DataConfig("demo/data"),
        batch=BatchConfig(size=8),
        optim=OptimConfig(lr=1e-3, clip_norm=1.0, decay="cosine", final_fraction=0.1),
        engine=ONE_THREAD,
        checkpoint=CheckpointConfig(steps=200),
        evaluation=EvaluationConfig(steps=400, clips=64),
        output="demo/run",
        steps=800,
        log_steps=20,
    )


def video() -> RunConfig:
    """Object discovery on real video from a fixed camera: 64x64, four slots."""
    return RunConfig(
        model=led_slots(size=64, slots=4, background_width=16),
        data=DataConfig("runs/videos"),
        batch=BatchConfig(size=8),
        optim=OptimConfig(lr=5e-4, clip_norm=1.0),
        engine=ONE_THREAD,
        checkpoint=CheckpointConfig(steps=100),
        output="runs/video",
        steps=2000,
        log_steps=20,
    )


def led_slots(size: int, slots: int, background_width: int) -> ObjectDiscovery:
    """A small model whose slots find objects within minutes.

    Each of the second group departs from the paper (see the fields): masks start empty, are led to what changes and
    to where their slot is expected, and are rewarded for being small and compact from the first step.
    """
    return ObjectDiscovery(
        size=size,
        slots=slots,
        width=16,
        hidden=24,
        kernel=3,
        blocks=1,
        stem_stride=4,
        reader_width=16,
        background_width=background_width,
        memory="unoccluded",
        mask_bias=-5.0,
        frame_difference=True,
        tracking=True,
        change_weight=5.0,
        alpha=Ramp(6.0, 12.0, 1000),
        temperature=Ramp(1.0, 0.4, 1000),
        sparsity=Ramp(0.02, 0.02),
        compactness=Ramp(0.3, 0.3),
    )
