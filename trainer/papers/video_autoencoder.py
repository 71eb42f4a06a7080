"""Table 1 of "Spatio-temporal video autoencoder with differentiable memory" (arXiv 1511.06309), and its scale.

The table says "per-pixel average error". It is read as binary cross-entropy in nats a pixel of the frame after ten
seen: two digits light a twentieth of the canvas, so that predicting black has an absolute and a squared error of 0.05,
which a trained AE-Conv cannot exceed with its 0.0948, while the best constant has a cross-entropy of 0.1985.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data_shards.manifest import Manifest
from data_shards.sources.moving_mnist import EMBEDDED


@dataclass(frozen=True)
class Published:
    """A row of Table 1: name, parameters, cross-entropy a pixel in nats."""

    title: str
    parameters: int
    bce: float


# By the name in MODELS, in the paper's order.
TABLE_1: dict[str, Published] = {
    "ae-conv": Published("AE-Conv", 109_073, 0.0948),
    "ae-fclstm": Published("AE-fcLSTM", 33_623_649, 0.0650),
    "ae-convlstm": Published("AE-ConvLSTM", 1_256_305, 0.0197),
    "ae-convlstm-flow": Published("AE-ConvLSTM-flow", 1_035_067, 0.0439),
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


def run_differences(kind: str, parameters: int, clips: int | None, epochs: float | None) -> list[str]:
    """Where a network of the table, the clips it learnt from or its epochs (None = not known) are not the paper's."""
    differences = []
    if parameters != TABLE_1[kind].parameters:
        differences.append(f"{parameters:,} parameters, not {TABLE_1[kind].parameters:,}")
    if clips is not None and clips < TRAINED_ON:
        differences.append(f"trained on {clips:,} clips, not {TRAINED_ON:,}")
    if epochs is None:
        differences.append("trained for an unknown time")
    elif epochs < EPOCHS:
        differences.append(f"trained for {epochs:.2g} epochs, not {EPOCHS} or more")
    return differences


def _digit_differences(parameters: Mapping[str, Any]) -> list[str]:
    differences = []
    if parameters.get("sequences") is None and parameters.get("digits") == EMBEDDED:
        differences.append("digits of scikit-learn, not of MNIST")
    if not parameters.get("binary"):
        differences.append("grey digits, not binary")
    return differences
