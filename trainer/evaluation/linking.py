"""Slots of models that see each frame by itself, linked over time: without it, their numbering says nothing."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from model.interface import Views


def linked(views: Views) -> Views:
    """The views with the slots of each frame in the order of the frame before.

    Of all pairings of a frame's slots with the last frame's, the one with the greatest sum of intersections over unions
    of their masks: visible ones, or amodal ones where there are no others. Objects with a number (`identities`) keep
    it where the mask of their slot overlaps its last one, and have a new one otherwise. Views without masks are
    as they were.
    """
    masks = views.amodal_masks if views.visible_masks is None else views.visible_masks
    if masks is None:
        return views
    order = steady_order(overlaps(masks))
    kept = {entry.name: getattr(views, entry.name) for entry in fields(Views) if entry.metadata.get("slots")}
    changed: dict[str, Any] = {
        name: reordered(value, order) for name, value in kept.items() if value is not None
    }
    refinements = views.refinements
    if refinements is not None and refinements.masks is not None:
        by_slot = reordered(refinements.masks.transpose(2, 3), order)
        changed["refinements"] = replace(refinements, masks=by_slot.transpose(2, 3))
    if "identities" in changed:
        masks = reordered(masks, order)
        stays = overlap(masks[:, :-1], masks[:, 1:]) > 0
        changed["identities"] = numbers(changed["identities"] > 0, stays)
    return replace(views, **changed)


def overlaps(masks: Float[Tensor, "b s k h w"]) -> Float[Tensor, "b pairs k k"]:
    """Overlap of every slot of a frame (rows) with every slot of the next."""
    rows = [overlap(mask[:, :-1, None], masks[:, 1:]) for mask in masks.unbind(2)]  # one at a time: memory
    return torch.stack(rows, 2)


def overlap(a: Float[Tensor, "*k h w"], b: Float[Tensor, "*n h w"]) -> Float[Tensor, "*m"]:
    """Intersection over union of masks, of weights too (smaller over larger ones, summed); 0 where both are empty."""
    return torch.minimum(a, b).sum((-2, -1)) / torch.maximum(a, b).sum((-2, -1)).clamp(min=1e-9)


def steady_order(fit: Float[Tensor, "b pairs k k"]) -> Int[Tensor, "b s k"]:
    """The slot that stands in each place, frame by frame; in the first, each in its own."""
    from scipy.optimize import linear_sum_assignment  # takes a second to import, and few models need it

    clips, pairs, slots, _ = fit.shape
    order = np.tile(np.arange(slots), (clips, pairs + 1, 1))
    # A model that has diverged is told of elsewhere.
    for clip, tables in enumerate(fit.nan_to_num().cpu().numpy()):
        for t, table in enumerate(tables, 1):
            _, follower = linear_sum_assignment(table, maximize=True)
            order[clip, t] = follower[order[clip, t - 1]]
    return torch.from_numpy(order).to(fit.device)


def numbers(held: Bool[Tensor, "b s k"], stays: Bool[Tensor, "b pairs k"]) -> Int[Tensor, "b s k"]:
    """Numbers of objects, from 1 in the order of discovery; 0 where a slot holds none."""
    given, known = (
        torch.zeros_like(held, dtype=torch.long),
        torch.zeros_like(held[:, 0, :1], dtype=torch.long),
    )
    for t, here in enumerate(held.unbind(1)):
        old = given[:, t - 1] * (here & stays[:, t - 1]) if t else given[:, 0]
        new = here & (old == 0)
        given[:, t] = torch.where(new, known + new.cumsum(1), old)
        known = known + new.sum(1, keepdim=True)
    return given


def reordered(
    field: Shaped[Tensor, "b s k *rest"], order: Int[Tensor, "b s k"]
) -> Shaped[Tensor, "b s k *rest"]:
    """`field` with the slot in each place that `order` names."""
    return torch.take_along_dim(field, order.reshape(*order.shape, *(1,) * (field.dim() - 3)), 2)
