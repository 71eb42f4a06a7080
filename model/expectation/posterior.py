"""The mixture that a pixel is drawn from: who explains it, and what that costs."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-6  # of likelihoods and of probabilities
SPREAD = 0.25  # of a pixel in the E-step, where pixels are Gaussian; in the loss it is 1
LIT = 0.1  # a predicted pixel counts as lit from here on


class Pixels(NamedTuple):
    """How a pixel is distributed, given what a slot predicts of it. All three are elementwise."""

    likelihood: Callable[[Tensor, Tensor], Tensor]
    """Of a pixel, given the prediction; up to a factor."""
    cost: Callable[[Tensor, Tensor], Tensor]
    """Negative log likelihood, up to a constant."""
    prior_cost: Callable[[Tensor], Tensor]
    """Divergence of a black pixel from the prediction: what a slot pays for what is not its own."""


def _bernoulli_cost(x: Tensor, psi: Tensor) -> Tensor:
    psi = psi.clamp(EPSILON, 1 - EPSILON)
    return -(x * psi.log() + (1 - x) * (1 - psi).log())


PIXELS: dict[str, Pixels] = {
    "bernoulli": Pixels(
        lambda x, psi: x * psi + (1 - x) * (1 - psi),
        _bernoulli_cost,
        lambda psi: -(1 - psi).clamp(min=EPSILON).log(),
    ),
    "gaussian": Pixels(
        lambda x, psi: torch.exp(-((x - psi) ** 2) / (2 * SPREAD**2)),
        lambda x, psi: (x - psi) ** 2 / 2,
        lambda psi: psi**2 / 2,
    ),
}


@torch.no_grad()
def responsibilities(
    frame: Float[Tensor, "b c h w"], psi: Float[Tensor, "b k c h w"], pixels: Pixels
) -> Float[Tensor, "b k 1 h w"]:
    """E-step: the probability of each slot, given a pixel and what all slots predict of it; equal before.

    Without gradient. A little is added to each likelihood, so that a pixel that no slot explains is everyone's.
    """
    likelihood = pixels.likelihood(frame[:, None], psi).prod(2, keepdim=True) + EPSILON
    return likelihood / likelihood.sum(1, keepdim=True)


@torch.no_grad()
def expected(
    psi: Float[Tensor, "b k c h w"], pixels: Pixels
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b k 1 h w"]]:
    """The frame that slots predict, and who explains it, without having seen it.

    The E-step is of a frame that is lit where any slot predicts it: by its largest prediction, 1 from 0.1 on where
    pixels are Bernoulli.
    """
    brightest = psi.amax(1)
    seen = brightest if pixels is PIXELS["gaussian"] else (brightest > LIT).to(psi.dtype)
    gamma = responsibilities(seen, psi, pixels)
    return (gamma * psi).sum(1), gamma


def initial(noise: Float[Tensor, "b k 1 h w"]) -> Float[Tensor, "b k 1 h w"]:
    """Responsibilities before anything is seen: |noise|, so that slots differ, in shares of 1."""
    share = noise.abs() + EPSILON
    return share / share.sum(1, keepdim=True)
