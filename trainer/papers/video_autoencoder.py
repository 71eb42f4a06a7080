"""Table 1 and figure 5 of "Spatio-temporal video autoencoder with differentiable memory" (arXiv 1511.06309).

The table says "per-pixel average error". It is read as binary cross-entropy in nats a pixel of the frame after ten
seen: two digits light a twentieth of the canvas, so that predicting black has an absolute and a squared error of 0.05,
which a trained AE-Conv cannot exceed with its 0.0948, while the best constant has a cross-entropy of 0.1985.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from data_shards.manifest import Manifest
from data_shards.sources import EMBEDDED_DIGITS
from model.interface import ModelConfig, Video, Views
from trainer.evaluation.result import BLACK, CONSTANT, COPY_LAST
from trainer.papers.paper import Column, Drawing, Figure, Paper, Published, Table
from trainer.pictures.picture import Picture, Strip, rgb
from trainer.pictures.wheel import flow_picture
from trainer.scores.flow import true_flow
from trainer.scores.prediction import CERTAIN

# By the name in MODELS, in the paper's order.
TABLE_1: dict[str, Published] = {
    "ae-conv": Published("AE-Conv", 109_073, {"bce": 0.0948}),
    "ae-fclstm": Published("AE-fcLSTM", 33_623_649, {"bce": 0.0650}),
    "ae-convlstm": Published("AE-ConvLSTM", 1_256_305, {"bce": 0.0197}),
    "ae-convlstm-flow": Published("AE-ConvLSTM-flow", 1_035_067, {"bce": 0.0439}),
}

SHAPE = (11, 64, 64, 1)  # ten frames seen, one to predict
TRAINED_ON, TESTED_ON = 10_000, 3_000  # clips
EPOCHS = 5  # after so many the rate falls for the first time; the paper does not say how many there were


def set_differences(manifest: Manifest, tested: int) -> list[str]:
    """Where a data set, of which `tested` clips are scored, is not the paper's; as "frames of 32 x 32, not 64 x 64"."""
    differences = []
    if manifest.source != "moving-mnist":
        differences.append(f"clips of {manifest.source}, not of Moving MNIST")
    else:
        differences += _digit_differences(manifest.parameters)
    (frames, *size, channels), (_, *side, _) = manifest.shape, SHAPE
    if frames != SHAPE[0]:
        differences.append(f"{frames - 1} frames seen, not {SHAPE[0] - 1}")
    if size != side:
        differences.append(f"frames of {size[0]} x {size[1]} pixels, not {side[0]} x {side[1]}")
    if channels != SHAPE[-1]:
        differences.append("frames in colour, not grey")
    if tested < TESTED_ON:
        differences.append(f"tested on {tested:,} clips, not {TESTED_ON:,}")
    return differences


def run_differences(
    published: Published, parameters: int, clips: int | None, epochs: float | None
) -> list[str]:
    """Where a network of the table, the clips it learnt from or its epochs (None = not known) are not the paper's."""
    differences = []
    if parameters != published.parameters:
        differences.append(f"{parameters:,} parameters, not {published.parameters:,}")
    if clips is not None and clips < TRAINED_ON:
        differences.append(f"trained on {clips:,} clips, not {TRAINED_ON:,}")
    if epochs is None:
        differences.append("trained for an unknown time")
    elif epochs < EPOCHS:
        differences.append(f"trained for {epochs:.2g} epochs, not {EPOCHS} or more")
    return differences


def _digit_differences(parameters: Mapping[str, Any]) -> list[str]:
    differences = []
    if parameters.get("sequences") is None and parameters.get("digits") == EMBEDDED_DIGITS:
        differences.append("digits of scikit-learn, not of MNIST")
    if not parameters.get("binary"):
        differences.append("grey digits, not binary")
    return differences


def binary(manifest: Manifest, models: Sequence[ModelConfig]) -> bool:
    """Whether frames are grey and all networks learnt the odds of lit pixels: then cross-entropy compares them."""
    return manifest.shape[3] == 1 and all(model.binary for model in models)


def flow_remark(scores: Mapping[str, float]) -> str:
    """How far off the flow is, where objects are seen; empty where there is none or its truth is not known."""
    return f"flow off by {scores['flow_error']:.2f} pixels" if "flow_error" in scores else ""


def figure_5(video: Video, networks: Mapping[str, Views], values: Mapping[str, float]) -> Drawing:
    """The frames seen; the frame that follows and what each network expects; flow into it, where there is any.

    One scale holds for all flow of the clip; the true one stands beside it where it is known.
    """
    frames = rgb(video.frames[0])
    pictures: list[tuple[str, Picture]] = [("true frame", frames[-1])]
    fields: dict[str, Float[Tensor, "2 h w"]] = {}
    for name, views in networks.items():
        assert views.prediction is not None
        pictures.append((f"{name} {values[name]:.4f}", rgb(views.prediction[0, -1:])[0]))
        if views.flow is not None:
            fields[f"flow of {name}"] = views.flow[0, -1].float()
    seen = [Strip("seen", "the frames that the networks are shown", frames[:-1])]
    if not fields:
        return Drawing(seen, pictures)
    truth = video.truth
    if truth is not None and truth.visible_ids is not None and truth.velocities is not None:
        fields["true flow"] = true_flow(video)[0, -1].float()
    fastest = max(float(torch.linalg.vector_norm(field, dim=0).max()) for field in fields.values())
    pictures += [(caption, flow_picture(field, fastest)) for caption, field in fields.items()]
    return Drawing(seen, pictures, f"Full colour of flow is {fastest:.2g} pixels a frame.", flow=True)


CROSS_ENTROPY = (
    "Cross-entropy is in nats a pixel (and, for a frame, summed over its pixels); where a prediction is certain and "
    f"wrong, as copying and black are, a pixel costs {-math.log(CERTAIN):.1f}."
)

VIDEO_AUTOENCODER = Paper(
    title="Spatio-temporal video autoencoder with differentiable memory",
    arxiv="1511.06309",
    models=(*TABLE_1, "segnet", "segnet-flow"),
    headline={
        "psnr": "PSNR",
        "ssim": "SSIM",
        "flow_error": "flow error",
        "accuracy": "global accuracy",
        "class_recall": "class average",
        "class_iou": "mIoU",
    },
    table=Table(
        heading="Table 1",
        title="Frame {frames} from the {seen} before it",
        reading=(
            "Every number is of the last frame of a clip, predicted from the frames before it, as a mean over the "
            "clips; PSNR is in dB. Green: better than the constant, which is the best that can be said without looking."
        ),
        columns=(
            Column("bce", "cross-entropy ↓", "cross-entropy", last=True, note=CROSS_ENTROPY, fits=binary),
            Column("bce", "a frame ↓", last=True, decimals=1, whole=True, fits=binary),
            Column("mse", "MSE ↓", "squared error", last=True),
            Column("l1", "L1 ↓", last=True),
            Column("psnr", "PSNR ↑", last=True, decimals=2),
            Column("ssim", last=True),
            Column("flow_error", last=True),
        ),
        published=lambda manifest: TABLE_1,
        references={
            CONSTANT: "the mean of the training clips, everywhere",
            COPY_LAST: "the newest frame again",
            BLACK: "its L1 is the mean brightness: of binary frames, the share of lit pixels",
        },
        remark=flow_remark,
        set_differences=set_differences,
        run_differences=run_differences,
        figure=Figure(
            heading="Figure 5",
            about=(
                "Clips from the best to the worst predicted, evenly spread, by the mean of all networks. First the "
                "frames seen; then the frame that follows, and what each network expects, with its {measure} on the "
                "clip."
            ),
            views=("prediction", "flow"),
            draw=figure_5,
        ),
    ),
)
