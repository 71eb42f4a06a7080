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
from model.ops.cycle import Layers, paths, reproject
from model.ops.spatial_transformer import centres, centres_of_mass
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
    columns, rows = masks.sum(-2), masks.sum(-1)  # a squared distance is one along x and one along y
    along_x = (columns * (centres(width, like=masks) - centre[..., :1]).square()).sum(-1)
    along_y = (rows * (centres(height, like=masks) - centre[..., 1:]).square()).sum(-1)
    area = rows.sum(-1) + faintest * height * width
    return ((along_x + along_y) / area).mean()


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
    """L_c: frame t2 from the slots of t1, and t1 from those of t2 (eq. 21 to 25); 0 where there is no pair."""
    if pair is None:
        return frames.new_zeros(())
    first, second = pair
    layers = Layers(slots.supports, slots.colours, slots.background, slots.order, slots.motion)
    start, gap = range(first, first + 1), second - first
    path = paths(slots.motion, start, gap)
    there = reproject(layers, path, start, gap, "forward")[:, 0]
    back = reproject(layers, path, start, gap, "backward")[:, 0]
    weights = change_weights(frames[:, first], frames[:, second], change_weight)
    forward = absolute_error(there, frames[:, second], weights)
    return (forward + absolute_error(back, frames[:, first], weights)) / 2
