"""Who is where, frame by frame: found and true objects as boxes, and how well each fits each."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from model.interface import Video, Views
from trainer.scores.matching import exists, truth_of


class Tracks(NamedTuple):
    """Of one clip. What is not there, or lies outside the frame, has number 0; who has a number keeps it."""

    fit: Float64[np.ndarray, "s k n"]  # intersection over union of the boxes of every slot and object
    found: Int64[np.ndarray, "s k"]  # number of the slot's object
    true: Int64[np.ndarray, "s n"]
    touched: Bool[np.ndarray, "s n"]  # whether the object's box and another's overlap


def tracks(views: Views, video: Video) -> list[Tracks]:
    """Of each clip. Slots without boxes have those of their amodal masks; without identities, a slot is an object."""
    found, there = found_boxes(views)
    size = video.frames.shape[-2:]
    true = truth_of(video).boxes
    assert true is not None
    steps = found.shape[1]
    true, present = true[:, :steps], true_objects(video)[:, :steps] & inside(true[:, :steps], size)
    there = there & inside(found, size)
    numbers = views.identities
    if numbers is None:
        numbers = torch.arange(1, found.shape[2] + 1, device=found.device).expand(there.shape)
    objects = torch.arange(1, true.shape[2] + 1, device=true.device).expand(present.shape)
    pairs = box_iou(true, true) > 0
    others = ~torch.eye(true.shape[2], dtype=torch.bool, device=true.device)
    touched = (pairs & others & present[..., None, :]).any(-1)
    parts = (box_iou(found, true), numbers.long() * there, objects * present, touched)
    return [Tracks(*clip) for clip in zip(*(x.cpu().numpy() for x in parts), strict=True)]


def found_boxes(views: Views) -> tuple[Float[Tensor, "b s k 4"], Bool[Tensor, "b s k"]]:
    """The box of every slot, x0 y0 x1 y1 in pixels, and whether it holds an object."""
    if views.boxes is not None:
        boxes, there = (
            views.boxes,
            torch.ones(views.boxes.shape[:3], dtype=torch.bool, device=views.boxes.device),
        )
    else:
        assert views.amodal_masks is not None
        boxes, there = mask_boxes(views.amodal_masks > 0.5)
    if views.presence is not None:
        there = there & (views.presence > 0.5)
    return boxes, there


def mask_boxes(masks: Bool[Tensor, "*b h w"]) -> tuple[Float[Tensor, "*b 4"], Bool[Tensor, "*b"]]:
    """The smallest boxes that hold the masks, and whether there is anything to hold."""
    ends = []
    for axis in (-2, -1):  # x, then y
        line = masks.any(axis)
        place = torch.arange(line.shape[-1], device=masks.device)
        ends.append(
            (place.masked_fill(~line, line.shape[-1]).amin(-1), (place + 1).masked_fill(~line, 0).amax(-1))
        )
    (left, right), (top, bottom) = ends
    there = right > left
    return torch.stack([left, top, right, bottom], -1).float() * there[..., None], there


def true_objects(video: Video) -> Bool[Tensor, "b t n"]:
    """Which objects are there and, where the truth says so, to be seen."""
    truth = truth_of(video)
    there = exists(video)[:, None].expand(-1, video.frames.shape[1], -1)
    if truth.exists is not None:
        there = there & (truth.exists > 0)
    if truth.visibility is not None:
        there = there & (truth.visibility > 0)
    return there


def inside(boxes: Float[Tensor, "*b 4"], size: tuple[int, int] | torch.Size) -> Bool[Tensor, "*b"]:
    """Whether a part of the box lies in a frame of `size`, height and width."""
    left, top, right, bottom = boxes.unbind(-1)
    return (right.clamp(max=size[1]) > left.clamp(min=0)) & (bottom.clamp(max=size[0]) > top.clamp(min=0))


def box_iou(a: Float[Tensor, "*b k 4"], b: Float[Tensor, "*b n 4"]) -> Float[Tensor, "*b k n"]:
    """Intersection over union of every box of `a` with every box of `b`, in float64; 0 where both are empty."""
    a, b = a.double()[..., :, None, :], b.double()[..., None, :, :]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    common = sides.prod(-1)
    areas = [(x[..., 2:] - x[..., :2]).clamp(min=0).prod(-1) for x in (a, b)]
    union = areas[0] + areas[1] - common
    return torch.where(union > 0, common / union, torch.zeros_like(union))
