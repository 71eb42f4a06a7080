"""Runs of SegNet and SegNet-flow (arXiv 1511.06309, section 5.2)."""

from data_shards.loader import DataConfig
from model.segnet.flow import SegNetFlow
from model.segnet.frames import SegNet
from trainer.config import (
    BatchConfig,
    CheckpointConfig,
    OptimConfig,
    RunConfig,
)


def camvid_segnet() -> RunConfig:
    """SegNet basic on CamVid, 240x180: optimiser, batch and length of the authors' SegNet-Tutorial.

    But for what their prototxt says of single parameters: there the biases of convolutions learn at twice the rate
    and do not decay, and the shift of batch normalisation starts at 0.001. Here all parameters learn at one rate and
    decay, and that shift starts at 0.
    """
    return RunConfig(
        model=SegNet(),
        data=DataConfig("runs/camvid"),  # build with --frames 1
        batch=BatchConfig(size=4),
        optim=OptimConfig(name="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4),
        checkpoint=CheckpointConfig(steps=500),
        output="runs/camvid-segnet",
        steps=10_000,
        log_steps=20,
    )


def camvid_segnet_flow() -> RunConfig:
    """SegNet-flow on CamVid, 240x180, clips of 6 frames, the last one labelled (arXiv 1511.06309, section 5.2).

    The paper trains all parts together and does not say how. SegNet's own optimiser makes the reconstruction diverge
    within four steps. Middle brightness and a flow held at zero are the start that finds motion in small trials.
    """
    changed = {
        "model": SegNetFlow(output_bias=0.5, still_steps=500),
        "optim": OptimConfig(name="adam", lr=1e-3),
        "output": "runs/camvid-segnet-flow",
    }
    return camvid_segnet().model_copy(update=changed)
