"""What every score is read against: copying the last frame, predicting black, the oracle's ceiling, one class for all.

References are Views like a model's, so they go through the same scores.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from model.interface import Truth, Video, Views
from model.ops.composition import compose_layers, to_identities, to_ranks, visible
from model.ops.spatial_transformer import inverse, translation, warp
from trainer.evaluation.result import BLACK, CEILING, COPY_LAST, MAJORITY
from trainer.scores.flow import true_flow

Reference = Callable[[Video], Views | None]  # None where the truth has not what it needs


def copy_last(video: Video) -> Views:
    """Nothing moves and nothing is told apart: the whole frame is one still slot, the next frame equals this one."""
    past = video.frames[:, :-1]
    batch, steps, _, height, width = past.shape
    whole = past.new_ones(batch, steps, 1, height, width)
    return Views(
        prediction=past,
        amodal_masks=whole,
        visible_masks=whole,
        slot_frames=past[:, :, None],
        background=torch.zeros_like(past),
        depth_order=past.new_ones(batch, steps, 1, 1),
        motion=torch.eye(3, device=past.device).expand(batch, steps, 1, 3, 3),
        flow=past.new_zeros(batch, steps, 2, height, width),
    )


def black(video: Video) -> Views:
    """Black frames."""
    return Views(prediction=torch.zeros_like(video.frames[:, 1:]))


def constant(video: Video, level: Float[Tensor, "c"]) -> Views:
    """The same level everywhere as prediction of the last frame."""
    frame = torch.zeros_like(video.frames[:, -1:]) + level[:, None, None].to(video.frames)
    return Views(prediction=frame)


def oracle(video: Video) -> Views | None:
    """The best that a model of this kind can do: true masks, order, colours and motion, composed by its rules.

    Frame t + 1 is the true masks of t, shifted bilinearly by the true velocity, subtracted from front to back
    (equations 4, 5, 12 to 15 of arXiv 2103.05669) and filled with the true colours. What it misses is the
    blur of one bilinear shift, so a model far above it has seen the answer. None where the truth has not all
    of that. The background is the mean of each pixel over the frames in which nothing covers it.
    """
    truth = video.truth
    if truth is None or truth.amodal_masks is None or truth.colours is None:
        return None
    if truth.velocities is None or truth.depth_ranks is None:
        return None
    masks = truth.amodal_masks[:, :-1]
    steps, (height, width) = masks.shape[1], masks.shape[-2:]
    motion = translation(truth.velocities[:, :-1] * truth.velocities.new_tensor([2 / width, 2 / height]))
    order = true_order(truth)[:, None].expand(-1, steps, -1, -1).to(masks.dtype)
    colours = truth.colours[:, None, :, :, None, None].expand(-1, steps, -1, -1, height, width)
    background = _background(video.frames, truth.amodal_masks)[:, None].expand(-1, steps, -1, -1, -1)
    moved = warp(masks[:, :, :, None], inverse(motion))[:, :, :, 0]
    return Views(
        prediction=compose_layers(_visible(moved, order), colours, background),
        amodal_masks=masks,
        visible_masks=_visible(masks, order),
        slot_frames=colours,
        background=background,
        depth_order=order,
        motion=motion,
        flow=None if truth.visible_ids is None else true_flow(video),
    )


REFERENCES: dict[str, Reference] = {
    COPY_LAST: copy_last,
    BLACK: black,
    CEILING: oracle,
}


def label_references(statistics: Mapping[str, Any]) -> dict[str, Reference]:
    """For sets with classes of pixels: the class that most pixels of the training split have, everywhere.

    Args:
        statistics: of the set's manifest; "class_pixels" are the pixels of each class in the labels to train on.
            Without them, or if there was nothing to train on, there is no such reference.
    """
    pixels = list(statistics.get("class_pixels", ()))
    if not any(pixels):
        return {}

    def majority(video: Video) -> Views:
        batch, steps, _, height, width = video.frames.shape
        labels = video.frames.new_zeros(batch, steps, len(pixels), height, width)
        labels[:, :, pixels.index(max(pixels))] = 1
        return Views(labels=labels)

    return {MAJORITY: majority}


def true_order(truth: Truth) -> Int[Tensor, "b n n"]:
    """The true depth order as permutation matrices, row = object, column = rank; padding comes last."""
    assert truth.depth_ranks is not None
    ranks = truth.depth_ranks
    if truth.present is not None:
        ranks = ranks + ranks.shape[1] * (truth.present == 0)
    place = ranks.argsort(dim=1, stable=True).argsort(dim=1)
    return F.one_hot(place, ranks.shape[1])


def _visible(
    masks: Float[Tensor, "b s n h w"], order: Float[Tensor, "b s n n"]
) -> Float[Tensor, "b s n h w"]:
    """Visible parts, in the order of the objects."""
    return to_identities(order, visible(to_ranks(order, masks)))


def _background(
    frames: Float[Tensor, "b t c h w"], masks: Float[Tensor, "b t n h w"]
) -> Float[Tensor, "b c h w"]:
    """Mean colour of each pixel over the frames in which no object touches it; black where that never is."""
    free = (masks.sum(dim=2, keepdim=True) == 0).to(frames.dtype)
    return (frames * free).sum(1) / free.sum(1).clamp(min=1)
