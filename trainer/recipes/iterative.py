"""Runs of iterative inference (Zablotskaia et al. 2021): the spatio-temporal model, IODINE, and IODINE over time."""

from typing import Any

from data_shards.loader import DataConfig
from model.iterative.model import IODINE, SeqIODINE, STIterative
from trainer.config import (
    BatchConfig,
    CheckpointConfig,
    EngineConfig,
    EvaluationConfig,
    OptimConfig,
    RunConfig,
)
from trainer.stages import Rule, Stage

# Frames and clips of a batch: 128 frames at first, as the paper has it; it names no other length but the last.
CURRICULUM = ((4, 32), (6, 20), (10, 12), (20, 6), (40, 3))


def balls_st_iterative() -> RunConfig:
    """The spatio-temporal model at the paper's scale, on balls in colour (model.entropy_weight=.1 for binary ones).

    For sets of build bouncing-balls --paint colour. Clips become longer stage by stage; the paper says that, and
    neither when nor for how long.
    """
    stages = tuple(
        Stage(overrides={"batch.frames": frames, "batch.size": clips}) for frames, clips in CURRICULUM
    )
    return _balls(STIterative(), "runs/balls-st-iterative").model_copy(update={"stages": stages})


def balls_iodine() -> RunConfig:
    """IODINE on single frames, the paper's baseline."""
    return _balls(IODINE(), "runs/balls-iodine").model_copy(update={"batch": BatchConfig(size=32, frames=1)})


def balls_seq_iodine() -> RunConfig:
    """IODINE that refines once a frame; the paper takes one that has learned from single frames.

    That is start=runs/balls-iodine steps=1 optim.lr=1e-12; as it stands, it learns on clips (a departure).
    """
    config = _balls(SeqIODINE(), "runs/balls-seq-iodine")
    return config.model_copy(update={"batch": BatchConfig(size=12, frames=10)})


def _balls(model: STIterative | IODINE, output: str) -> RunConfig:
    return RunConfig(
        model=model,
        data=DataConfig("runs/bouncing-balls"),
        batch=BatchConfig(size=32),
        optim=OptimConfig(name="adam", lr=3e-4, clip_norm=5.0),
        checkpoint=CheckpointConfig(steps=1000),
        evaluation=EvaluationConfig(steps=5000, clips=100),
        output=output,
        steps=50_000,
        log_steps=50,
    )


def balls_demo() -> RunConfig:
    """The spatio-temporal model at a size for a laptop's CPU: three balls, 16x16 pixels.

    For sets of build bouncing-balls --paint colour --colouring drawn --size 16 --frames 6 --fewest 3 --objects 3
    --radii 1.44 --masses 1 --speed 1.0. Departures, each a field: one normal about what the slots mix to, for the
    mixture stays on a plateau this long; the posterior goes on from frame to frame, each of which is drawn four times;
    smaller networks that are primed. It learns on single frames first, and begins again with another seed where slots
    share all pixels alike after 300 steps, or draw too badly after 400: then one has taken several balls.
    """
    stages = (
        Stage(
            again=(_late("terms.mask_entropy", SHARED, 300), _late("terms.explained_mse", BLURRED, 400)),
            attempts=5,
        ),
        Stage(overrides={"batch.frames": None, "batch.size": 8, "steps": 250, "optim.lr": 2e-3}),
    )
    model = STIterative(**SMALL, schedule="constant", carried=True)
    return _demo(model, "runs/balls-demo/run").model_copy(update={"stages": stages})


def _late(metric: str, bound: float, after: int) -> Rule:
    return Rule(metric=metric, at_least=bound, lines=3, after=after)


def balls_demo_iodine() -> RunConfig:
    """IODINE beside it, on single frames of the same sets."""
    return _demo(IODINE(**SMALL), "runs/balls-demo/iodine")


def balls_demo_seq_iodine() -> RunConfig:
    """IODINE that refines once a frame, beside it; it learns on clips."""
    config = _demo(SeqIODINE(**SMALL), "runs/balls-demo/seq-iodine")
    return config.model_copy(update={"batch": BatchConfig(size=8)})


SHARED = 250.0  # nats a frame, of masks; 16x16 pixels that four slots share alike have 355
BLURRED = 0.02  # squared error a pixel of what is drawn
SMALL: dict[str, Any] = dict(
    size=16, slots=4, latent=16, hidden=64, decodes=4, likelihood="mean", variance=0.01, likelihood_weight=1.0,
    kl_weight=1.0, noise="once", start_deviation=0.5, decoder="subpixel", decoder_width=32, decoder_hidden=64,
    activation="silu", maps=24, strides=(2, 2, 1), pool=1, gradients=False, primed=True,
)  # fmt: skip


def _demo(model: STIterative | IODINE, output: str) -> RunConfig:
    return RunConfig(
        model=model,
        data=DataConfig("runs/balls-demo/data"),
        batch=BatchConfig(size=16, frames=1),
        optim=OptimConfig(
            name="adam", lr=4e-3, clip_norm=5.0, warmup_steps=50, decay="cosine", final_fraction=0.1
        ),
        engine=EngineConfig(threads=1),
        checkpoint=CheckpointConfig(steps=200),
        evaluation=EvaluationConfig(steps=200, clips=64),
        output=output,
        steps=800,
        log_steps=20,
    )
