"""A frame of a VRNN: what is expected of it, what is inferred from it, and which particles go on."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from model.probability.estimators import iwae
from model.probability.normal import Normal, deviation, log_likelihood


class State(NamedTuple):
    """What is carried from frame to frame. `bp` rows are clips, and in each its particles."""

    hidden: Float[Tensor, "bp d"]
    cell: Float[Tensor, "bp d"]
    seen: Float[Tensor, "bp d"]  # features of the last frame
    latent: Float[Tensor, "bp d"]  # features of its latent
    log_weight: Float[Tensor, "bp"]  # since the particles were last resampled
    bound: Float[Tensor, "b"]  # of all before


class Inputs(NamedTuple):
    """What a step is given of its frame; with a time axis after the batch, of many."""

    frame: Float[Tensor, "b *t c h w"]
    encoded: Float[Tensor, "b *t d"]
    noise: Float[Tensor, "bp *t z"]
    chance: Float[Tensor, "bp *t"]  # uniform, for resampling


class Step(NamedTuple):
    """What is kept of a frame."""

    drawn: Float[Tensor, "bp *t d2"]  # what the frame is drawn from
    expected: Float[Tensor, "b *t d2"]  # and what it was expected from, of each clip's first particle
    kl: Float[Tensor, "bp *t"]
    likelihood: Float[Tensor, "bp *t"]  # where particles are resampled, else 0: not known yet


class Parts(NamedTuple):
    """The networks of a step."""

    lstm: nn.Module
    prior: nn.Module
    posterior: nn.Module
    latent: nn.Module
    decoder: nn.Module


@dataclass(frozen=True)
class Cell:
    """One step (Chung et al. 2015, eq. 5 to 9; the recurrence comes first, as in FIVO's code).

        o_t = LSTM(x_{t-1}, z_{t-1}),     p(z_t) = N(prior(o_t)),
        q(z_t) = N(posterior(o_t, x_t)),  p(x_t) = N(decoder(z_t, o_t), spread^2)

    Args:
        parts: the networks.
        particles: of each clip.
        draws: latents are drawn, and their divergences are those of the samples; else means, and exact.
        resamples: particles are resampled where their effective number is below a half (FIVO).
        spread: standard deviation of a pixel.
    """

    parts: Parts
    particles: int
    draws: bool
    resamples: bool
    spread: float

    def __call__(self, state: State, inputs: Inputs) -> tuple[State, Step]:
        """The next state, and what is kept of the frame."""
        encoded = inputs.encoded.repeat_interleave(self.particles, 0)
        hidden, cell = self.parts.lstm(torch.cat([state.seen, state.latent], 1), state.hidden, state.cell)
        prior = normal(self.parts.prior(hidden))
        posterior = normal(self.parts.posterior(torch.cat([hidden, encoded], 1)))
        z = posterior.sample(inputs.noise) if self.draws else posterior.mean
        kl = posterior.divergence(prior, z if self.draws else None)
        latent = self.parts.latent(z)
        drawn = torch.cat([latent, hidden], 1)
        with torch.no_grad():
            expected = torch.cat([self.parts.latent(prior.mean), hidden], 1)[:: self.particles]
        step = Step(drawn, expected, kl, torch.zeros_like(kl))
        state = State(hidden, cell, encoded, latent, state.log_weight, state.bound)
        return self._resampled(state, step, inputs) if self.resamples else (state, step)

    def _resampled(self, state: State, step: Step, inputs: Inputs) -> tuple[State, Step]:
        frames = inputs.frame.repeat_interleave(self.particles, 0)
        likelihood = log_likelihood(frames, self.parts.decoder(step.drawn)[:, None], self.spread)[:, 0]
        step = step._replace(likelihood=likelihood)
        log_weights = (state.log_weight + likelihood - step.kl).view(-1, self.particles)
        few = effective(log_weights) < self.particles / 2
        chosen = ancestors(log_weights, inputs.chance.view(-1, self.particles), few).flatten()
        hidden, cell, seen, latent = (x[chosen] for x in state[:4])
        bound = torch.where(few, state.bound + iwae(log_weights), state.bound)
        log_weight = torch.where(few[:, None], 0.0, log_weights).flatten()
        return State(hidden, cell, seen, latent, log_weight, bound), step


def normal(numbers: Float[Tensor, "n z2"]) -> Normal:
    """Means, and deviations from what they are the softplus of."""
    mean, spread = numbers.chunk(2, -1)
    return Normal(mean.float(), deviation(spread))


@torch.no_grad()
def effective(log_weights: Float[Tensor, "b p"]) -> Float[Tensor, "b"]:
    """The effective number of particles, (sum w)^2 / sum w^2, 1 to p."""
    return 1 / log_weights.softmax(1).square().sum(1)


@torch.no_grad()
def ancestors(
    log_weights: Float[Tensor, "b p"], chance: Float[Tensor, "b p"], which: Bool[Tensor, "b"]
) -> Int[Tensor, "b p"]:
    """Rows of the particles that go on, drawn by their weights in the clips of `which`, else each its own.

    What a choice does to the bound has no gradient here, as in FIVO's experiments: its estimate is too noisy.
    """
    count = log_weights.shape[1]
    own = torch.arange(count, device=log_weights.device)
    upto = log_weights.softmax(1).cumsum(1)
    drawn = torch.searchsorted(upto, chance.contiguous()).clamp(max=count - 1)
    first = count * torch.arange(len(log_weights), device=log_weights.device)
    return first[:, None] + torch.where(which[:, None], drawn, own)
