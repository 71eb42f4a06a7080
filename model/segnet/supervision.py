"""Cross-entropy where there are labels."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


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
        ValueError: a label is not a class.
    """
    if labels is None:
        return 0.0 * logits.sum()
    classes = logits.shape[2]
    if int(labels.max()) >= classes:
        raise ValueError(
            f"labels go up to {int(labels.max())}, the model has {classes} classes: set its classes"
        )
    factors = torch.tensor(weights, device=logits.device) if weights else None
    total = F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(0, 1), factors, ignore_index=-1, reduction="sum"
    )
    return total / (labels >= 0).sum().clamp(min=1)
