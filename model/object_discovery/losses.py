"""The terms of the training objective (eq. 16 to 25), all as means, so that weights do not depend on sizes.

The paper's L_p and L_c are unnormalised sums and L_m2 is in squared pixels: to compare weights, multiply by
channels * height * width, and by (height / 2)^2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from model.object_discovery.motion import centres_of_mass
from model.ops.composition import compose, to_identities, to_ranks, visible
from model.ops.spatial_transformer import pixel_centres, warp

NOTICEABLE = 0.02  # a pixel changes where a channel differs by more: five of 255 levels


def change_weights(
    before: Float[Tensor, "*b c h w"], after: Float[Tensor, "*b c h w"], weight: float
) -> Float[Tensor, "*b 1 h w"]:
    """`weight` where a pixel differs between the two frames, 1 elsewhere, scaled to mean 1 over each frame.

    Not in the paper. Without it the still background, most of the frame, decides how the loss is spent.
    """
    changed = (before - after).abs().amax(-3, keepdim=True) > NOTICEABLE
    weights = 1 + (weight - 1) * changed.to(before.dtype)
    return weights / weights.mean((-1, -2), keepdim=True)


def absolute_error(
    guess: Float[Tensor, "*b c h w"], frame: Float[Tensor, "*b c h w"], weights: Float[Tensor, "*b 1 h w"]
) -> Float[Tensor, ""]:
    """Weighted mean absolute error per pixel and channel (eq. 16; eq. 25 adds two of these)."""
    return (weights * (guess - frame).abs()).mean()


def sparsity(masks: Float[Tensor, "b t k h w"]) -> Float[Tensor, ""]:
    """L_m1: mean of the raw masks over pixels and slots (eq. 18), and over time, which eq. 18 leaves open."""
    return masks.mean()


def compactness(masks: Float[Tensor, "b t k h w"], faintest: float = 1e-3) -> Float[Tensor, ""]:
    """L_m2: squared distance of a mask's mass from its centre (eq. 19, 20), in normalised units, mean over k, t, b.

    A disc of radius 8 at 64 pixels has 0.03, a uniform mask 0.67. `faintest` of the frame is added to the area, so
    that an empty mask costs nothing and has no gradient to speak of. Eq. 19 sums over k.
    """
    height, width = masks.shape[-2:]
    centre = centres_of_mass(masks, faintest=1e-6)
    distance = (pixel_centres(height, width, like=masks) - centre[..., None, None, :]).square().sum(-1)
    area = masks.sum((-1, -2)) + faintest * height * width
    return ((masks * distance).sum((-1, -2)) / area).mean()


def reproject(
    sampling: Float[Tensor, "b k 3 3"],
    order: Float[Tensor, "b k k"],
    supports: Float[Tensor, "b k h w"],
    colours: Float[Tensor, "b k c h w"],
    background: Float[Tensor, "b c h w"],
) -> Float[Tensor, "b c h w"]:
    """Another frame from the slots of this one: move, sort, cut, compose (eq. 22 to 24).

    `sampling` is the inverse of the motion to that frame (model/ops); `order` is one of that frame's neighbourhood.
    Eq. 24 pairs rank-ordered masks with identity-ordered colours; here masks are brought back to identity order.
    """
    moved = warp(torch.cat([colours, supports[:, :, None]], 2), sampling)
    weights = to_identities(order, visible(to_ranks(order, moved[:, :, -1])))
    return compose(weights, moved[:, :, :-1], background)
