"""Signs that a model of slots has collapsed: empty, full or doubled masks, an undecided order, motion ignored."""

from math import log

import torch
from jaxtyping import Float
from torch import Tensor

from model.object_discovery.motion import centres_of_mass
from model.ops.spatial_transformer import move_points

ACTIVE_SHARE = 0.005  # of the frame that a slot must hold to count


@torch.no_grad()
def slot_health(
    supports: Float[Tensor, "b t k h w"], order: Float[Tensor, "b t k k"], motion: Float[Tensor, "b t k 3 3"]
) -> dict[str, Float[Tensor, ""]]:
    """Means over clips and frames. `supports` are the binarised masks.

    A slot holds the pixels where its support is above a half. slot_mask_area: share of the frame that a slot holds.
    slot_active: slots that hold more than 0.5 % of the frame.
    slot_duplicate_iou: overlap of two slots' masks over their union, mean over pairs; near 1 = the same object twice.
    slot_order_entropy: of a rank's distribution over slots, 0 = sure, 1 = no idea.
    slot_motion_pixels: displacement of the masks' centres from one frame to the next, active slots only.
    """
    held = (supports > 0.5).flatten(-2).to(supports.dtype)
    slots, (height, width) = held.shape[2], supports.shape[-2:]
    area = held.mean(-1)
    active = (area > ACTIVE_SHARE).to(held.dtype)
    first, second = torch.triu_indices(slots, slots, 1, device=held.device)
    overlap = (held[:, :, first] * held[:, :, second]).sum(-1)
    union = (held[:, :, first] + held[:, :, second]).sum(-1) - overlap
    entropy = torch.special.entr(order).sum(-2) / log(max(slots, 2))
    centre = centres_of_mass(supports)
    step = (move_points(motion, centre) - centre) * torch.tensor(
        [width / 2, height / 2], device=centre.device
    )
    return {
        "slot_mask_area": area.mean(),
        "slot_active": active.sum(-1).mean(),
        "slot_duplicate_iou": (overlap / union.clamp(min=1)).sum() / max(overlap.numel(), 1),
        "slot_order_entropy": entropy.mean(),
        "slot_motion_pixels": (step.norm(dim=-1) * active).sum() / active.sum().clamp(min=1),
    }
