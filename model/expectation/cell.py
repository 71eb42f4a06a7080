"""A step of neural expectation maximisation: from a frame to predictions of the next, and who explains that one."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from model.expectation.posterior import Pixels, expected, responsibilities


class State(NamedTuple):
    """What is carried from frame to frame."""

    theta: Float[Tensor, "b k d"]
    psi: Float[Tensor, "b k c h w"]  # predictions of the frame that comes, by each slot
    gamma: Float[Tensor, "b k 1 h w"]  # who explains it


class Inputs(NamedTuple):
    """What a step is given; with a time axis after the batch, of many."""

    seen: Float[Tensor, "b *t c h w"]  # the frame, with noise
    following: Float[Tensor, "b *t c h w"]  # the frame that follows, as it is


class Step(NamedTuple):
    """What is kept of a step; of the frame that follows it."""

    intra: Float[Tensor, "b *t"]  # cost of pixels, by who explains them
    inter: Float[Tensor, "b *t"]  # cost of what slots predict of others' pixels
    upper_bound: Float[Tensor, "b *t"]  # cost of the largest prediction of each pixel
    prediction: Float[Tensor, "b *t c h w"]
    psi: Float[Tensor, "b *t k c h w"]
    gamma: Float[Tensor, "b *t k 1 h w"]


class Parts(NamedTuple):
    """The networks of a step."""

    encoder: nn.Module
    core: nn.Module
    decoder: nn.Module


@dataclass(frozen=True)
class Cell:
    """One step (arXiv 1802.10353, eq. 3 to 10).

        theta' = core(theta, encoder(gamma (x - psi))),   psi' = decoder(theta'),
        gamma' = p(slot | x', psi') of the frame x' that follows.

    Args:
        parts: the networks.
        pixels: how a pixel is distributed.
    """

    parts: Parts
    pixels: Pixels

    def __call__(self, state: State, inputs: Inputs) -> tuple[State, Step]:
        """The next state, and what is kept of the step."""
        theta, psi = self.predicted(state, inputs.seen)
        gamma = responsibilities(inputs.following, psi.detach(), self.pixels)
        frame = inputs.following[:, None]
        cost = self.pixels.cost(frame, psi)
        intra = (gamma * cost).flatten(1).sum(1)
        inter = ((1 - gamma) * self.pixels.prior_cost(psi)).flatten(1).sum(1)
        brightest = self.pixels.cost(inputs.following, psi.detach().amax(1)).flatten(1).sum(1)
        prediction, _ = expected(psi.detach(), self.pixels)
        step = Step(intra, inter, brightest, prediction, psi.detach(), gamma)
        return State(theta, psi, gamma), step

    def predicted(
        self, state: State, seen: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b k c h w"]]:
        """Theta and psi after a frame."""
        error = state.gamma * (seen[:, None] - state.psi)
        slots = error.shape[:2]
        encoded = self.parts.encoder(error.flatten(0, 1)).unflatten(0, slots)
        theta, decoded = self.parts.core(state.theta, encoded)
        psi: Tensor = self.parts.decoder(decoded.flatten(0, 1)).unflatten(0, slots)
        return theta, psi
