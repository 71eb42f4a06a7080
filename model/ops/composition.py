"""Layers in depth order: who is visible where, and the frame that they make together.

Two indices run over slots. *Identity* order is that of the model's slots and of everything remembered about them;
*rank* order is by depth, nearest first, and changes over time. A depth order P has a row per slot and a column per
rank: P[j, r] says how much slot j is at rank r.
"""

from jaxtyping import Float
from torch import Tensor


def to_ranks(order: Float[Tensor, "*b k k"], masks: Float[Tensor, "*b k h w"]) -> Float[Tensor, "*b k h w"]:
    """P^T masks: from identity to rank order (eq. 4 of arXiv 2103.05669)."""
    # A sum of products, not a matrix product: autocast would round masks to eight bits.
    return (order.mT[..., :, :, None, None] * masks[..., None, :, :, :]).sum(-3)


def to_identities(
    order: Float[Tensor, "*b k k"], ranked: Float[Tensor, "*b k h w"]
) -> Float[Tensor, "*b k h w"]:
    """P ranked: from rank to identity order, what memories and motions must be paired with."""
    return to_ranks(order.mT, ranked)


def visible(ranked: Float[Tensor, "*b k h w"]) -> Float[Tensor, "*b k h w"]:
    """gamma: what is left of each mask behind the nearer ones, max(0, m_r - sum_{l<r} m_l) (eq. 5).

    Masks in rank order, in [0, 1]. The result sums to at most the greatest mask, so never above 1. The sum of what is
    in front is that of the masks, as printed, not of their union: two half-covering masks hide one another.
    """
    in_front = ranked.cumsum(-3) - ranked
    return (ranked - in_front).clamp(min=0)


def compose_layers(
    weights: Float[Tensor, "*b k h w"],
    colours: Float[Tensor, "*b k c h w"],
    background: Float[Tensor, "*b c h w"],
) -> Float[Tensor, "*b c h w"]:
    """sum_k weights_k colours_k + (1 - sum_k weights_k) background (eq. 14 and 15).

    `weights` are visible masks, both they and `colours` in identity order.
    """
    covered = weights.sum(-3, keepdim=True)
    return (weights[..., :, None, :, :] * colours).sum(-4) + (1 - covered) * background
