"""What every score is read against: copying the last frame, predicting black, and the oracle's ceiling.

References are Views like a model's, so they go through the same scores.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from model.interface import Truth, Video, Views


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
    )


def black(video: Video) -> Views:
    """Black frames."""
    return Views(prediction=torch.zeros_like(video.frames[:, 1:]))


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
    batch, steps, count, height, width = masks.shape
    size = torch.tensor([width, height], dtype=masks.dtype, device=masks.device)
    motion = torch.eye(3, dtype=masks.dtype, device=masks.device).repeat(batch, steps, count, 1, 1)
    motion[..., :2, 2] = 2 * truth.velocities[:, :-1] / size
    order = true_order(truth)[:, None].expand(-1, steps, -1, -1).to(masks.dtype)
    colours = truth.colours[:, None, :, :, None, None].expand(-1, steps, -1, -1, height, width)
    background = _background(video.frames, truth.amodal_masks)[:, None].expand(-1, steps, -1, -1, -1)
    next_visible = _visible(_shift(masks, motion), order)
    prediction = (next_visible[:, :, :, None] * colours).sum(2)
    prediction = prediction + (1 - next_visible.sum(2))[:, :, None] * background
    return Views(
        prediction=prediction,
        amodal_masks=masks,
        visible_masks=_visible(masks, order),
        slot_frames=colours,
        background=background,
        depth_order=order,
        motion=motion,
    )


REFERENCES: dict[str, Callable[[Video], Views | None]] = {
    "copy-last": copy_last,
    "black": black,
    "oracle ceiling": oracle,
}


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
    """Visible parts, in the order of the objects: a mask minus the sum of those in front (equation 5)."""
    ranked = torch.einsum("bsnr,bsnhw->bsrhw", order, masks)
    in_front = ranked.cumsum(dim=2) - ranked
    return torch.einsum("bsnr,bsrhw->bsnhw", order, (ranked - in_front).clamp(min=0))


def _shift(
    masks: Float[Tensor, "b s n h w"], motion: Float[Tensor, "b s n 3 3"]
) -> Float[Tensor, "b s n h w"]:
    """Masks moved by their motion, bilinearly, zeros from outside."""
    sampling = torch.linalg.inv(motion)[..., :2, :].flatten(0, 2)
    images = masks.flatten(0, 2)[:, None]
    grid = F.affine_grid(sampling, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).view(masks.shape)


def _background(
    frames: Float[Tensor, "b t c h w"], masks: Float[Tensor, "b t n h w"]
) -> Float[Tensor, "b c h w"]:
    """Mean colour of each pixel over the frames in which no object touches it; black where that never is."""
    free = (masks.sum(dim=2, keepdim=True) == 0).to(frames.dtype)
    return (frames * free).sum(1) / free.sum(1).clamp(min=1)
