"""How well slots know whole objects: amodal IoU, occluded parts, stray slots, depth order.

Values are per clip, decomposed frame and object (or pair of objects); NaN where the question is empty.
An object that no slot stands for scores 0: a missed object is an error, not a missing value.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from model.interface import Video, Views
from trainer.scores.matching import (
    EMPTY,
    binary_amodal,
    exists,
    intersection_over_union,
    match,
    take,
    truth_of,
)
from trainer.scores.segmentation import predicted_ids

LEAST_PIXELS = 5  # a hidden part or an overlap smaller than this is an artefact of the pixel grid


def amodal_iou(hidden_from: float = 0.0, hidden_to: float = 1.0) -> Callable[[Views, Video], Tensor]:
    """IoU of full-support masks, of objects whose hidden share lies in [hidden_from, hidden_to)."""

    def score(views: Views, video: Video) -> Float[Tensor, "b s n"]:
        predicted, true = binary_amodal(views, video)
        slots = match(views, video)
        iou = torch.where((slots == EMPTY)[:, None], 0.0, _own_iou(take(predicted, slots), true))
        counted = (exists(video) & true.flatten(3).any(3).any(1))[:, None].expand(iou.shape)
        if (hidden_from, hidden_to) != (0.0, 1.0):
            area = true.flatten(3).sum(3)
            share = hidden_parts(views, video).flatten(3).sum(3) / area
            last = share <= hidden_to if hidden_to == 1.0 else share < hidden_to
            counted = counted & (area > 0) & (share >= hidden_from) & last
        return iou.masked_fill(~counted, torch.nan)

    return score


def occluded_iou(views: Views, video: Video) -> Float[Tensor, "b s n"]:
    """IoU of the hidden parts: amodal minus visible, predicted against true, where 5 px or more are hidden."""
    assert views.visible_masks is not None
    predicted, _ = binary_amodal(views, video)
    slots, hidden = match(views, video), hidden_parts(views, video)
    winner = predicted_ids(views.visible_masks)[:, :, None]
    own = winner == torch.arange(predicted.shape[2], device=winner.device).view(-1, 1, 1)
    iou = _own_iou(take(predicted & ~own, slots), hidden)
    iou = torch.where((slots == EMPTY)[:, None], 0.0, iou)
    return iou.masked_fill(hidden.flatten(3).sum(3) < LEAST_PIXELS, torch.nan)


def unmatched_area(views: Views, video: Video) -> Float[Tensor, "b s k"]:
    """Share of the frame covered by each slot that stands for no object (slots to spare should be empty)."""
    predicted, _ = binary_amodal(views, video)
    slots = match(views, video)
    used = (slots[:, :, None] == torch.arange(predicted.shape[2], device=slots.device)).any(dim=1)
    return predicted.flatten(3).double().mean(dim=3).masked_fill(used[:, None], torch.nan)


def depth_order_accuracy(views: Views, video: Video) -> Float[Tensor, "b s pair"]:
    """1 where the predicted order of a pair of objects is the true one, 0 where not, 0.5 for a tie.

    Only pairs whose true masks overlap by 5 px or more: elsewhere the order cannot be known. Chance is 0.5.
    Ranks are sum_r r P[k, r]: the rank itself for a permutation, its mean for a soft order.
    """
    truth, slots = truth_of(video), match(views, video)
    assert views.depth_order is not None
    assert truth.depth_ranks is not None
    _, true = binary_amodal(views, video)
    count = true.shape[2]
    ranks = torch.arange(views.depth_order.shape[-1], device=slots.device).to(views.depth_order.dtype)
    rank = take(views.depth_order @ ranks, slots)
    first, second = torch.triu_indices(count, count, offset=1, device=slots.device)
    masks = true.flatten(3).float()
    counted = (masks @ masks.transpose(2, 3))[:, :, first, second] >= LEAST_PIXELS
    counted &= ((slots[:, first] != EMPTY) & (slots[:, second] != EMPTY))[:, None]
    guess = torch.sign((rank[:, :, second] - rank[:, :, first]).double())
    answer = torch.sign((truth.depth_ranks[:, second] - truth.depth_ranks[:, first]).double())
    return (0.5 + 0.5 * guess * answer[:, None]).masked_fill(~counted, torch.nan)


def hidden_parts(views: Views, video: Video) -> Bool[Tensor, "b s n h w"]:
    """True pixels of each object that something in front covers, in the decomposed frames."""
    _, true = binary_amodal(views, video)
    ids = truth_of(video).visible_ids
    assert ids is not None
    numbers = torch.arange(1, true.shape[2] + 1, device=ids.device).view(-1, 1, 1)
    return true & (ids[:, : true.shape[1], None] != numbers)


def _own_iou(a: Bool[Tensor, "b s n h w"], b: Bool[Tensor, "b s n h w"]) -> Float[Tensor, "b s n"]:
    """IoU of mask i of `a` with mask i of `b`."""
    return intersection_over_union(a, b).diagonal(dim1=2, dim2=3)
