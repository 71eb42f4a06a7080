"""A cell: slots draw their frame, see how well they explain it, and are refined."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.iterative.config import Refining
from model.iterative.grid import Grid
from model.iterative.likelihood import Drawing, Explained, drawing, entropy, explain, slopes
from model.iterative.networks import coordinates
from model.unroll import inner_gradient

LEAST, MOST = -10.0, 4.0  # log-variances of posteriors
FAINTER, MOST_LOGIT = 0.3, 3.0  # of logits of masks, as primed networks see them
TINY = 1e-12  # added to a variance that is divided by


class State(NamedTuple):
    """What goes on from cell to cell. `bk` rows are clips, and in each its slots."""

    temporal: Float[Tensor, "bk d"]  # last state of the frame before
    temporal_cell: Float[Tensor, "bk d"]
    hidden: Float[Tensor, "bk d"]  # state of refinement
    cell: Float[Tensor, "bk d"]
    posterior: Float[Tensor, "bk d2"]  # means and log-variances


class Inputs(NamedTuple):
    """What a cell is given; with a time axis after the first, of many."""

    frame: Float[Tensor, "b *t c h w"] | None  # None = of the future: the slots' own mix
    noise: Float[Tensor, "b *t k d"]
    at: Grid


class Step(NamedTuple):
    """What is kept of a cell; the first three have gradients."""

    nll: Float[Tensor, "b *t"]
    kl: Float[Tensor, "b *t"]
    entropy: Float[Tensor, "b *t"]
    masks: Float[Tensor, "b *t k h w"]
    means: Float[Tensor, "b *t k c h w"]


class Parts(NamedTuple):
    """The networks of a cell."""

    decoder: nn.Module
    reader: nn.Module
    recurrence: nn.Module
    correction: nn.Module
    prior: nn.Module | None


class Gaussian(NamedTuple):
    """Means and log-variances, of a slot's latent."""

    mean: Float[Tensor, "n d"]
    log_variance: Float[Tensor, "n d"]

    def divergence(self, prior: "Gaussian") -> Float[Tensor, "n"]:
        """From the prior, summed over the latent."""
        ratio = (self.log_variance - prior.log_variance).exp()
        distance = (self.mean - prior.mean).square() / prior.log_variance.exp()
        return 0.5 * (ratio + distance - 1 + prior.log_variance - self.log_variance).sum(1)


@dataclass(frozen=True)
class Cell:
    """One step over the grid of frames and refinements.

    Args:
        config: of the model.
        parts: its networks.
        start: the learned posterior, for every row.
        conditional: the decoder is given the temporal state.
    """

    config: Refining
    parts: Parts
    start: Float[Tensor, "bk d2"]
    conditional: bool

    def __call__(self, state: State, inputs: Inputs) -> tuple[State, Step]:
        """The next state, and what is kept of the cell."""
        state = self._entered(state, inputs)
        prior = self._prior(state, inputs)
        mean, log_variance = state.posterior.chunk(2, 1)
        posterior = Gaussian(mean, log_variance.clamp(LEAST, MOST))
        noise = inputs.noise.flatten(0, 1)
        z = posterior.mean + (posterior.log_variance / 2).exp() * noise
        given = state.temporal if self.conditional else None
        drawn = self._drawn(z, given)
        frame = drawn.mixed if inputs.frame is None else inputs.frame
        explained = explain(drawn, frame, self.config.likelihood, self.config.variance)
        step = Step(
            nll=-explained.pixels.sum((1, 2, 3)),
            kl=posterior.divergence(prior).view(len(frame), -1).sum(1),
            entropy=entropy(drawn).sum((1, 2)),
            masks=drawn.masks.detach().squeeze(2),
            means=drawn.means.detach(),
        )
        vectors = [state.posterior]
        maps = self._maps(drawn, explained, frame)
        if self.config.gradients:
            more, vector = self._gradients(drawn, explained, inputs, posterior, prior, z, given)
            maps, vectors = maps + more, [*vectors, vector]
        return self._refined(state, inputs, maps, vectors), step

    def _entered(self, state: State, inputs: Inputs) -> State:
        """The state as a frame begins."""
        enters = inputs.at.enters[:, None]
        return State(
            torch.where(enters, state.hidden, state.temporal),
            torch.where(enters, state.cell, state.temporal_cell),
            torch.where(enters, 0.0, state.hidden),
            torch.where(enters, 0.0, state.cell),
            torch.where(inputs.at.restarts[:, None], self.start, state.posterior),
        )

    def _prior(self, state: State, inputs: Inputs) -> Gaussian:
        if self.parts.prior is None:
            nothing = torch.zeros_like(state.posterior)
        else:
            nothing = torch.where(inputs.at.frame[:, None] == 0, 0.0, self.parts.prior(state.temporal))
        return Gaussian(*nothing.chunk(2, 1))

    def _drawn(self, z: Float[Tensor, "bk d"], given: Float[Tensor, "bk s"] | None) -> Drawing:
        return drawing(self.parts.decoder(z, given).unflatten(0, (-1, self.config.slots)))

    def _maps(
        self, drawn: Drawing, explained: Explained, frame: Float[Tensor, "b c h w"]
    ) -> list[Float[Tensor, "b k m h w"]]:
        """What the refinement sees of every pixel, but for gradients."""
        pixels = self._normalised(explained.pixels[:, None])
        share = explained.share.detach().mean(2, keepdim=True)
        where = coordinates(frame.shape[-1], frame)
        everyone = drawn.masks.shape[:2]
        return [
            frame[:, None].expand(*everyone, -1, -1, -1),
            drawn.means,
            drawn.masks,
            (FAINTER * drawn.logits.detach()).clamp(-MOST_LOGIT, MOST_LOGIT)
            if self.config.primed
            else drawn.logits,
            share,
            pixels.expand(*everyone, -1, -1, -1),
            where.expand(*everyone, -1, -1, -1),
        ]

    def _gradients(
        self,
        drawn: Drawing,
        explained: Explained,
        inputs: Inputs,
        posterior: Gaussian,
        prior: Gaussian,
        z: Float[Tensor, "bk d"],
        given: Float[Tensor, "bk s"] | None,
    ) -> tuple[list[Float[Tensor, "b k m h w"]], Float[Tensor, "bk d2"]]:
        """Of a clip's own loss, by means, by masks, and by the posterior; of the future there are none."""
        config = self.config
        if inputs.frame is None:
            nothing = torch.zeros_like(drawn.means), torch.zeros_like(drawn.masks)
            return list(nothing), torch.cat([torch.zeros_like(z)] * 2, 1)
        weight = config.likelihood_weight
        share = config.entropy_weight / weight
        slope = slopes(drawn, explained, inputs.frame, config.likelihood, config.variance, share)
        with torch.no_grad():
            by_pixels = slope.means * drawn.means * (1 - drawn.means)
            raw = weight * torch.cat([by_pixels, slope.logits], 2).flatten(0, 1)
            state = None if given is None else given.detach()
        by_z = inner_gradient(lambda at: (self.parts.decoder(at, state).float() * raw).sum(), z)
        with torch.no_grad():
            noise, spread = inputs.noise.flatten(0, 1), (posterior.log_variance / 2).exp()
            precision = (-prior.log_variance).exp()
            by_mean = by_z + config.kl_weight * precision * (posterior.mean - prior.mean)
            rest = config.kl_weight * (spread.square() * precision - 1)
            by_log_variance = 0.5 * (by_z * noise * spread + rest)
        masks = slope.masks if config.mask_gradient == "mask" else slope.logits
        by_maps = [self._normalised(slope.means), self._normalised(masks)]
        return by_maps, self._normalised(torch.cat([by_mean, by_log_variance], 1), axes=1)

    def _normalised(self, x: Tensor, axes: int = 3) -> Tensor:
        """Detached; mean 0 and variance 1 over the last axes."""
        x = x.detach()
        return F.layer_norm(x, x.shape[-axes:], eps=TINY) if self.config.normalised else x

    def _refined(self, state: State, inputs: Inputs, maps: list[Tensor], vectors: list[Tensor]) -> State:
        features = self.parts.reader(torch.cat(maps, 2).flatten(0, 1))
        hidden, cell = self.parts.recurrence(
            torch.cat([features, *vectors], 1),
            (state.hidden, state.cell),
            (state.temporal, state.temporal_cell),
        )
        refines, moves = inputs.at.refines[:, None], inputs.at.moves[:, None]
        posterior = state.posterior + torch.where(moves, self.parts.correction(hidden), 0.0)
        return state._replace(
            hidden=torch.where(refines, hidden, state.hidden),
            cell=torch.where(refines, cell, state.cell),
            posterior=posterior,
        )
