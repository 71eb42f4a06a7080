"""The terms of the training objective (eq. 16 to 25), all as means, so that weights do not depend on sizes.

The paper's L_p, L_c and L_m2 are unnormalised sums, and L_m2 is in squared pixels. To compare: the paper's L_p and L_c
are ours times channels * height * width, its L_m2 ours times slots * (height / 2)^2.
"""

from abc import ABC
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.bounds import require_at_least
from model.interface import ModelConfig
from model.object_discovery.slots import Slots
from model.ops.composition import compose, to_identities, to_ranks, visible
from model.ops.spatial_transformer import centres_of_mass, compose_over_time, inverse, pixel_centres, warp
from model.schedule import Ramp

NOTICEABLE = 0.02  # a pixel changes where a channel differs by more: five of 255 levels


@dataclass(frozen=True)
class Objective(ModelConfig, ABC):
    """Weights of eq. 17; lambda_5 is the optimiser's weight decay (2 * lambda_5)."""

    reconstruction: float = 1.0
    """Weight of the error of predictions."""
    consistency: float = 1.0
    """Weight of the error of frames further away, both ways in time."""
    sparsity: Ramp = Ramp(0.0, 0.01, 5_000, 1_000)
    """Weight of the masks' area, annealed."""
    compactness: Ramp = Ramp(0.0, 0.02, 5_000, 1_000)
    """Weight of the masks' extent, annealed."""
    change_weight: float = 1.0
    """Departure: weight of the pixels that change, in both errors; 1 = off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 0, "reconstruction", "consistency")
        require_at_least(self, 1, "change_weight")
        self.sparsity.require("sparsity", 0.0)
        self.compactness.require("compactness", 0.0)


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
    """Weighted mean absolute error per pixel and channel (eq. 16; eq. 25 is the mean of two of these)."""
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


def pair_of_frames(steps: int, draw: bool) -> tuple[int, int] | None:
    """t1 and t2 of the cycle, from 0, among the `steps` = T - 1 decomposed frames; None where there is but one.

    t1 is drawn from the first half of 1..T and t2 from the rest up to T - 1 (section 3.2 includes T, which Algorithm 1
    never decomposes). Without `draw` they are the middles of their ranges.
    """
    half = (steps + 1) // 2
    if half >= steps:
        return None
    if draw:
        return int(torch.randint(0, half, ())), int(torch.randint(half, steps, ()))
    return half // 2, (half + steps) // 2


def consistency(
    slots: Slots, frames: Float[Tensor, "b t c h w"], pair: tuple[int, int] | None, change_weight: float
) -> Float[Tensor, ""]:
    """L_c: frame t2 from the slots of t1, and t1 from those of t2, the motion in between composed (eq. 21 to 25).

    The order is that of the frame next to the target on the side one comes from (section 3.2); moving back, it is
    the printed P_{t1+1}. 0 where there is no pair.
    """
    if pair is None:
        return frames.new_zeros(())
    first, second = pair
    path = compose_over_time(slots.motion[:, first:second])
    there = reproject(
        inverse(path), slots.order[:, second - 1],
        slots.supports[:, first], slots.colours[:, first], slots.background[:, first],
    )  # fmt: skip
    back = reproject(  # inv(path) moves back, so sampling takes the path itself
        path, slots.order[:, first + 1],
        slots.supports[:, second], slots.colours[:, second], slots.background[:, second],
    )  # fmt: skip
    weights = change_weights(frames[:, first], frames[:, second], change_weight)
    forward = absolute_error(there, frames[:, second], weights)
    return (forward + absolute_error(back, frames[:, first], weights)) / 2
