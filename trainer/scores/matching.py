"""Which slot stands for which true object: one assignment per clip, so that a swap in mid-clip costs."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from model.interface import Truth, Video, Views

EMPTY = -1  # no slot: fewer slots than objects, or an object that does not exist


def match(views: Views, video: Video) -> Int[Tensor, "b n"]:
    """Slot of each true object, -1 for none: the Hungarian match on amodal IoU summed over the clip."""
    from scipy.optimize import linear_sum_assignment  # takes a second to import, and few runs match objects

    predicted, true = binary_amodal(views, video)
    overlap = intersection_over_union(predicted, true).nansum(dim=1).cpu().numpy()  # b k n
    present = exists(video).cpu().numpy()
    slots = np.full(present.shape, EMPTY)
    for clip in range(len(slots)):
        objects = np.flatnonzero(present[clip])
        rows, columns = linear_sum_assignment(overlap[clip][:, objects], maximize=True)
        slots[clip, objects[columns]] = rows
    return torch.from_numpy(slots).to(predicted.device)


def take(field: Shaped[Tensor, "b s k *rest"], slots: Int[Tensor, "b n"]) -> Shaped[Tensor, "b s n *rest"]:
    """`field` of the slot that stands for each object (slot 0's where there is none)."""
    batch = torch.arange(len(field), device=field.device)[:, None]
    return field.transpose(1, 2)[batch, slots.clamp(min=0)].transpose(1, 2)


def binary_amodal(views: Views, video: Video) -> tuple[Bool[Tensor, "b s k h w"], Bool[Tensor, "b s n h w"]]:
    """Predicted and true full-support masks of the decomposed frames, cut at one half."""
    assert views.amodal_masks is not None
    true = truth_of(video).amodal_masks
    assert true is not None
    return views.amodal_masks > 0.5, true[:, : views.amodal_masks.shape[1]] > 0.5


def intersection_over_union(
    predicted: Bool[Tensor, "b s k h w"], true: Bool[Tensor, "b s n h w"]
) -> Float[Tensor, "b s k n"]:
    """IoU of every mask with every object; NaN where both are empty."""
    p, t = predicted.flatten(3).float(), true.flatten(3).float()
    common = p @ t.transpose(2, 3)
    return common / (p.sum(3)[..., :, None] + t.sum(3)[..., None, :] - common)


def exists(video: Video) -> Bool[Tensor, "b n"]:
    """Which of the (padded) objects a clip has."""
    truth = truth_of(video)
    if truth.present is not None:
        return truth.present > 0
    assert truth.amodal_masks is not None
    return truth.amodal_masks.flatten(3).amax(dim=(1, 3)) > 0


def truth_of(video: Video) -> Truth:
    """The truth of a video that has one."""
    assert video.truth is not None
    return video.truth
