"""Runs of SQAIR and of its baseline VRNN (Kosiorek et al. 2018) on moving multi-MNIST."""

from typing import Any

from data_shards.loader import DataConfig
from model.schedule import Ramp, Stairs
from model.sqair.model import AIR, MLPSQAIR, ConvSQAIR
from model.vrnn.model import MLPVRNN, VRNN, ConvVRNN
from trainer.config import (
    BatchConfig,
    CheckpointConfig,
    EngineConfig,
    EvaluationConfig,
    OptimConfig,
    RunConfig,
)

LONGER = Stairs(tuple(range(3, 11)), tuple(range(100_000, 800_000, 100_000)))


def sqair_mnist() -> RunConfig:
    """MLP-SQAIR at the paper's scale, by the released settings: for sets of build multi-mnist, a million steps.

    TensorFlow's RMSProp with 1e-5; three frames of each clip at first, one more every 100,000 steps. The release
    divides the rate by 3 after 400,000 steps and again after a million, this schedule every 400,000.
    """
    return _sqair(MLPSQAIR(), "runs/multi-mnist-sqair")


def sqair_conv_mnist() -> RunConfig:
    """CONV-SQAIR, likewise."""
    return _sqair(ConvSQAIR(), "runs/multi-mnist-sqair-conv")


def _sqair(model: MLPSQAIR | ConvSQAIR, output: str) -> RunConfig:
    return RunConfig(
        model=model,
        data=DataConfig("runs/multi-mnist"),
        batch=BatchConfig(size=32, frames=LONGER),
        optim=OptimConfig(
            name="rmsprop-tf", lr=1e-5, alpha=0.9, momentum=0.9, eps=1e-10,
            decay="exponential", decay_factor=1 / 3, decay_steps=400_000,
        ),
        checkpoint=CheckpointConfig(steps=10_000),
        evaluation=EvaluationConfig(steps=10_000, clips=640),
        output=output,
        steps=1_000_000,
        log_steps=100,
    )  # fmt: skip


def vrnn_mlp_mnist() -> RunConfig:
    """The fully connected VRNN beside it: whole clips from the first step on, the rate of SQAIR throughout."""
    return _vrnn(MLPVRNN(), "runs/multi-mnist-vrnn-mlp")


def vrnn_conv_mnist() -> RunConfig:
    """The convolutional VRNN, likewise."""
    return _vrnn(ConvVRNN(), "runs/multi-mnist-vrnn-conv")


def _vrnn(model: VRNN, output: str) -> RunConfig:
    return RunConfig(
        model=model,
        data=DataConfig("runs/multi-mnist"),
        batch=BatchConfig(size=32),
        optim=OptimConfig(name="rmsprop-tf", lr=1e-5, alpha=0.9, momentum=0.9, eps=1e-10),
        checkpoint=CheckpointConfig(steps=10_000),
        evaluation=EvaluationConfig(steps=10_000, clips=640),
        output=output,
        steps=1_000_000,
        log_steps=100,
    )


def sqair_demo() -> RunConfig:
    """SQAIR that counts after minutes on a laptop's CPU: 32x32, no to two digits that keep their speed.

    For sets of build multi-mnist --size 32 --digit 31.25 --speed 4.7 --acceleration 0 --no-leave. Departures, each a
    field: the number of new objects is summed exactly, its odds go from many to few, objects start dark and near the
    size of digits, and are expected to stay as they are. It learns as AIR does, on single frames, for 1000 steps, and
    to carry on from then on.
    """
    model = MLPSQAIR(**COUNTING, prior_bias=5.0, propagation_prior="residual")
    return _demo(model, Stairs((1, 3), (1000,)), "runs/sqair-demo/run", steps=1500)


def air_demo() -> RunConfig:
    """AIR beside it, on single frames of the same sets."""
    return _demo(AIR(**COUNTING), 1, "runs/sqair-demo/air", steps=3000)


COUNTING: dict[str, Any] = dict(
    size=32, what=20, glimpse=16, hidden=128, particles=1, objective="exact", count_prior="odds",
    log_odds=Ramp(9.2, -10.0, 1000), where_prior="fixed", size_mean=-0.2, size_deviation=0.3, decoder="sigmoid",
    mean_image=False,
)  # fmt: skip


def _demo(model: AIR | MLPSQAIR, frames: Stairs | int, output: str, steps: int) -> RunConfig:
    return RunConfig(
        model=model,
        data=DataConfig("runs/sqair-demo/data"),
        batch=BatchConfig(size=64, frames=frames),
        optim=OptimConfig(name="adam", lr=1e-3, clip_norm=10.0, decay="cosine", final_fraction=0.1),
        engine=EngineConfig(threads=1),
        checkpoint=CheckpointConfig(steps=500),
        evaluation=EvaluationConfig(steps=500, clips=100),
        output=output,
        steps=steps,
        log_steps=20,
    )
