"""How wrong a flow field is: against the true field, and by what it makes of the frames (arXiv 1511.06309, section 5).

The paper's sanity test warps frames by their true flow. Its direction is a trap: a file's flow lives on the grid of
frame t, so only frame t can be made exactly, from t + 1; `after_from_before`, the direction the paper words, takes
the flow of a place for that of what arrives there, and is wrong near the edges of what moves.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from model.ops.flow import warp

SAME = 1.0  # pixels: neighbours that move less differently belong together


def end_point_error(flow: Float[Tensor, "*n 2 h w"], truth: Float[Tensor, "*n 2 h w"]) -> Float[Tensor, "*n"]:
    """Mean distance of the vectors' ends in pixels, over where the truth is known; NaN where it is nowhere."""
    distance = torch.linalg.vector_norm(flow - truth, dim=-3)
    known = truth.isfinite().all(-3)
    return torch.nanmean(distance.masked_fill(~known, torch.nan), (-2, -1))


@dataclass(frozen=True)
class Warping:
    """Errors of a frame made by warping, means over pixels and channels of values in [0, 1].

    `l1` and `squared` are over the `share` of pixels that are visible in both frames, the others over all pixels.
    """

    share: float
    l1: float
    squared: float
    l1_everywhere: float
    squared_everywhere: float


def before_from_after(
    before: Float[Tensor, "c h w"], after: Float[Tensor, "c h w"], flow: Float[Tensor, "2 h w"]
) -> Warping:
    """Frame t made by sampling t + 1 at p + flow(p), `flow` on the grid of t: exact but for interpolation."""
    return _compare(warp(after, _still(flow)), before, visible_after(flow))


def after_from_before(
    before: Float[Tensor, "c h w"], after: Float[Tensor, "c h w"], flow: Float[Tensor, "2 h w"]
) -> Warping:
    """Frame t + 1 made by sampling t at p - flow(p), `flow` on the grid of t: an approximation.

    Counted as visible is a pixel whose flow is that of the place it would come from, if that stays visible.
    """
    back = -_still(flow)
    there = warp(_still(flow), back)
    seen = warp(visible_after(flow)[None].float(), back)[0] > 0.99
    return _compare(warp(before, back), after, seen & ((there + back).abs() <= SAME).all(0))


def visible_after(flow: Float[Tensor, "2 h w"]) -> Bool[Tensor, "h w"]:
    """Pixels of frame t that are surely visible in t + 1, by the flow alone.

    They stay inside the frame, and nothing that moves otherwise arrives within a pixel of them. Flow does not say
    which of two such pixels hides the other: neither counts.
    """
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    end = torch.stack([x, y]).to(flow) + _still(flow)
    known = flow.isfinite().all(0)
    limit = torch.tensor([width - 1, height - 1], device=flow.device)[:, None, None]
    inside = known & (end >= 0).all(0) & (end <= limit).all(0)
    cell = end.round().clamp(min=torch.zeros_like(limit), max=limit).long()
    index = (cell[1] * width + cell[0])[inside].expand(2, -1)
    arriving = flow[:, inside]
    empty = flow.new_zeros(2, height * width)
    largest = empty.scatter_reduce(1, index, arriving, "amax", include_self=False).view(2, height, width)
    smallest = empty.scatter_reduce(1, index, arriving, "amin", include_self=False).view(2, height, width)
    reached = flow.new_zeros(height * width).index_fill(0, index[0], 1.0).view(height, width) > 0
    # Spread over 3x3 cells: bilinear sampling looks at neighbours too.
    fastest = _spread(largest.masked_fill(~reached, -torch.inf))
    slowest = -_spread((-smallest).masked_fill(~reached, -torch.inf))
    contested = ((fastest - slowest) > SAME).any(0)
    return inside & ~contested[cell[1], cell[0]]


def _spread(values: Float[Tensor, "2 h w"]) -> Float[Tensor, "2 h w"]:
    """The largest value among each cell and its eight neighbours."""
    return F.max_pool2d(values[None], 3, stride=1, padding=1)[0]


def _still(flow: Float[Tensor, "2 h w"]) -> Float[Tensor, "2 h w"]:
    """Unknown motion as none."""
    return flow.nan_to_num(nan=0.0)


def _compare(
    made: Float[Tensor, "c h w"], true: Float[Tensor, "c h w"], seen: Bool[Tensor, "h w"]
) -> Warping:
    error = made - true
    part = error[:, seen]
    return Warping(
        share=float(seen.float().mean()),
        l1=float(part.abs().mean()),
        squared=float(part.square().mean()),
        l1_everywhere=float(error.abs().mean()),
        squared_everywhere=float(error.square().mean()),
    )
