"""How well the visible masks group pixels as the truth does: the adjusted Rand index.

FG-ARI looks only at pixels that truly belong to an object, so it asks "are the objects told apart?" and
forgives a mask that spills into the background; ARI over all pixels does not. Per frame the slots may swap
freely; per video the numbering must hold over time. Predicted ids are the argmax over the slots and the
background's weight, 1 minus their sum.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from model.interface import Video, Views


def adjusted_rand(
    true: Int[Tensor, "g x"], predicted: Int[Tensor, "g x"], counted: Bool[Tensor, "g x"]
) -> Float[Tensor, "g"]:
    """Adjusted Rand index of two labellings of the counted pixels, one value (at most 1) per group.

    From the pair confusion matrix, as scikit-learn has it; labellings without a disagreement (one cluster
    in both, one pixel, no pixel) score 1. Labels are small integers from 0.
    """
    groups = true.shape[0]
    rows, columns = (int(x.max()) + 1 if x.numel() else 1 for x in (true, predicted))
    group = torch.arange(groups, device=true.device)[:, None]
    cell = ((group * rows + true) * columns + predicted)[counted]
    table = torch.bincount(cell, minlength=groups * rows * columns).view(groups, rows, columns)
    count = table.sum(dim=(1, 2))
    same_both = table.square().sum(dim=(1, 2))
    same_true, same_predicted = (table.sum(dim=d).square().sum(dim=1) for d in (2, 1))
    # Pairs: together in both, only in the prediction, only in the truth, in neither. Integers until here.
    tp, fp = (same_both - count).double(), (same_predicted - same_both).double()
    fn, tn = (same_true - same_both).double(), (count**2 - same_true - same_predicted + same_both).double()
    index = 2 * (tp * tn - fn * fp) / ((tp + fn) * (fn + tn) + (tp + fp) * (fp + tn))
    return torch.where((fn == 0) & (fp == 0), torch.ones_like(index), index)


def predicted_ids(visible_masks: Float[Tensor, "*b k h w"]) -> Int[Tensor, "*b h w"]:
    """Slot number 0..k-1 of the largest weight at each pixel; k where the background's is larger."""
    largest, slot = visible_masks.max(dim=-3)
    return slot.masked_fill(1 - visible_masks.sum(dim=-3) > largest, visible_masks.shape[-3])


def rand_score(*, foreground: bool, per_video: bool) -> Callable[[Views, Video], Tensor]:
    """The score `ari` or `fg_ari`, of each frame or of each whole clip."""

    def score(views: Views, video: Video) -> Float[Tensor, "b s"]:
        """Undefined (NaN) where nothing is counted."""
        assert views.visible_masks is not None
        assert video.truth is not None
        assert video.truth.visible_ids is not None
        predicted = predicted_ids(views.visible_masks)
        batch, steps = predicted.shape[:2]
        true = video.truth.visible_ids[:, :steps].long()
        counted = true > 0 if foreground else torch.ones_like(true, dtype=torch.bool)
        shape = (batch, 1) if per_video else (batch, steps)
        groups = [x.reshape(shape[0] * shape[1], -1) for x in (true, predicted, counted)]
        index = adjusted_rand(groups[0], groups[1], groups[2])
        return index.masked_fill(~groups[2].any(dim=1), torch.nan).view(shape)

    return score
