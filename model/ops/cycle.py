"""Frames further away, made of the layers that were found here and of the motion in between.

Equations 21 to 25 of arXiv 2103.05669, the cycle. Eq. 24 pairs rank-ordered masks with identity-ordered colours; here
masks are brought back to identity order.
"""

from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from model.ops.composition import compose_layers, to_identities, to_ranks, visible
from model.ops.spatial_transformer import compose_over_time, inverse, warp

Direction: TypeAlias = Literal["forward", "backward"]


class Layers(NamedTuple):
    """Decomposed frames, in identity order."""

    masks: Float[Tensor, "b t k h w"]  # occluded parts included
    colours: Float[Tensor, "b t k c h w"]
    background: Float[Tensor, "b t c h w"]
    order: Float[Tensor, "b t k k"]  # row = slot, column = rank, rank 0 nearest
    motion: Float[Tensor, "b t k 3 3"]  # forward, to the next frame


def paths(motion: Float[Tensor, "b t k 3 3"], starts: range, gap: int) -> Float[Tensor, "b pairs k 3 3"]:
    """The motion from frame t1 to t1 + gap, for t1 in `starts` (eq. 21)."""
    steps = motion[:, starts.start : starts.stop + gap - 1]
    return compose_over_time(steps.unfold(1, gap, 1).movedim(-1, 2))


def reproject(
    layers: Layers,
    path: Float[Tensor, "b pairs k 3 3"],
    starts: range,
    gap: int,
    direction: Direction,
) -> Float[Tensor, "b pairs c h w"]:
    """Frames t1 + gap from the layers of t1 ("forward"), or t1 from those of t1 + gap ("backward"), for t1 in `starts`.

    Layers are moved, sorted, cut and composed. The order is that of the frame next to the target on the side one comes
    from (section 3.2), P_{t1+gap-1} or P_{t1+1}: it may change in time.
    """
    first, pairs = starts.start, len(starts)
    if direction == "forward":
        origin, beside, sampling = first, first + gap - 1, inverse(path)
    else:  # inverse(path) moves back, so sampling takes the path itself
        origin, beside, sampling = first + gap, first + 1, path
    here, order = slice(origin, origin + pairs), layers.order[:, beside : beside + pairs]
    moved = warp(torch.cat([layers.colours[:, here], layers.masks[:, here, :, None]], 3), sampling)
    colours, masks = moved.split([moved.shape[3] - 1, 1], 3)
    weights = to_identities(order, visible(to_ranks(order, masks[:, :, :, 0])))
    return compose_layers(weights, colours, layers.background[:, here])
