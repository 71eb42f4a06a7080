"""HEALTH: signs that a model has collapsed, from its views alone: masks empty, full or doubled, all found anew.

A sign is a function of Views, looked at on the steps that are logged. It stands among the terms of a line of
metrics.jsonl under its name, and is exported as the series of its row. To add one, write it here or beside its like,
give it a row, and its series a row in monitoring/catalogue.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import torch
from jaxtyping import Float
from torch import Tensor

from model.interface import Views
from model.ops.spatial_transformer import centres_of_mass, move_points

ACTIVE_SHARE = 0.005  # of the frame that a slot must hold to count
WHOLE_SHARE = 0.5  # of the frame from which it is no object
SAME_IOU = 0.5  # overlap over union from which two slots hold the same


@dataclass(frozen=True)
class Sign:
    """One row: the series it is exported as, the fields of Views that it reads, its mean over clips and frames.

    A field may lie deeper, as particles.kl.
    """

    series: str
    views: tuple[str, ...]
    measure: Callable[[Views], Float[Tensor, ""]]


def mask_area(views: Views) -> Float[Tensor, ""]:
    """Share of the frame that a slot holds: the pixels where its support is above a half."""
    return _held(views).mean()


def active_slots(views: Views) -> Float[Tensor, ""]:
    """Slots that hold more than 0.5 % of the frame."""
    return _active(_held(views)).sum(-1).mean()


def duplicate_iou(views: Views) -> Float[Tensor, ""]:
    """Overlap of two slots' masks over their union, mean over pairs; near 1 = the same object twice."""
    ious = _pairwise_iou(_held(views))
    slots = ious.shape[-1]
    return ious.triu(1).sum() / max(ious[..., 0, 0].numel() * slots * (slots - 1) // 2, 1)


def sound_slots(views: Views) -> Float[Tensor, ""]:
    """Share of the slots that hold what may be an object: not nothing, nor half of the frame, nor what another holds.

    The verdict on a run, early and without labels: see docs/stages.md.
    """
    held = _held(views)
    share = held.mean(-1)
    double = _pairwise_iou(held).triu(1).amax(-2) > SAME_IOU  # of two that hold the same, the first counts
    sound = (share > ACTIVE_SHARE) & (share < WHOLE_SHARE) & ~double
    return sound.to(held.dtype).mean()


def order_entropy(views: Views) -> Float[Tensor, ""]:
    """Of a rank's distribution over slots: 0 = sure, 1 = no idea."""
    assert views.depth_order is not None
    entropy = torch.special.entr(views.depth_order).sum(-2) / log(max(views.depth_order.shape[2], 2))
    return torch.mean(entropy)


def motion_pixels(views: Views) -> Float[Tensor, ""]:
    """Displacement of the masks' centres from one frame to the next, active slots only."""
    assert views.amodal_masks is not None
    assert views.motion is not None
    height, width = views.amodal_masks.shape[-2:]
    active, centre = _active(_held(views)), centres_of_mass(views.amodal_masks)
    moved = (move_points(views.motion, centre) - centre) * centre.new_tensor([width / 2, height / 2])
    length = torch.linalg.vector_norm(moved, dim=-1)
    return torch.sum(length * active) / active.sum().clamp(min=1)


def found_later(views: Views) -> Float[Tensor, ""]:
    """Objects a frame that are found after the first; as many as there are = known ones are found anew each time.

    Counts do not show it: what is dropped and found again in every frame is counted right.
    """
    assert views.identities is not None
    numbers = views.identities.amax(2)
    later = numbers.amax(1) - numbers[:, 0]
    return later.float().mean() / max(numbers.shape[1] - 1, 1)


HEALTH: dict[str, Sign] = {
    "slot_mask_area": Sign("commonfate_slot_mask_area_ratio", ("amodal_masks",), mask_area),
    "slot_active": Sign("commonfate_slot_active", ("amodal_masks",), active_slots),
    "slot_duplicate_iou": Sign("commonfate_slot_duplicate_iou_ratio", ("amodal_masks",), duplicate_iou),
    "slot_sound": Sign("commonfate_slot_sound_ratio", ("amodal_masks",), sound_slots),
    "slot_order_entropy": Sign("commonfate_slot_order_entropy_ratio", ("depth_order",), order_entropy),
    "slot_found_later": Sign("commonfate_slot_found_later", ("identities",), found_later),
    "slot_motion_pixels": Sign("commonfate_slot_motion_pixels", ("amodal_masks", "motion"), motion_pixels),
}


@torch.no_grad()
def health(views: Views) -> dict[str, Float[Tensor, ""]]:
    """Every sign by its name, of those whose fields the views have."""
    there = views.tensors().keys()
    return {name: sign.measure(views) for name, sign in HEALTH.items() if there >= set(sign.views)}


def _held(views: Views) -> Float[Tensor, "b s k x"]:
    """1 where a slot holds a pixel."""
    assert views.amodal_masks is not None
    return (views.amodal_masks > 0.5).flatten(-2).to(views.amodal_masks.dtype)


def _pairwise_iou(held: Float[Tensor, "b s k x"]) -> Float[Tensor, "b s k k"]:
    """Of every two slots; 0 where both are empty."""
    overlap = held @ held.mT
    area = held.sum(-1)
    return overlap / (area[..., :, None] + area[..., None, :] - overlap).clamp(min=1)


def _active(held: Float[Tensor, "b s k x"]) -> Float[Tensor, "b s k"]:
    """1 where a slot counts."""
    return (held.mean(-1) > ACTIVE_SHARE).to(held.dtype)
