"""VRNN: inference over a clip, its bound, and roll-outs by what is expected."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.bounds import fitting, require_at_least, require_one_of
from model.interface import ModelConfig, ModelOutput, Particles, Video, VideoModel, Views
from model.layers.dense import mlp
from model.layers.over_time import over_time
from model.probability.estimators import iwae
from model.probability.normal import log_likelihood
from model.remat import Remat
from model.unroll import unroll
from model.vrnn.cell import Cell, Inputs, Parts, State, Step, normal
from model.vrnn.networks import LSTM, ConvDecoder, ConvEncoder, DenseDecoder, DenseEncoder

OBJECTIVES = ("fivo", "iwae")


@dataclass(frozen=True)
class VRNN(ModelConfig, ABC):
    """What can be chosen of a VRNN."""

    size: int = 50
    """Side of the frames, pixels."""
    channels: int = 1
    """Colours of a frame: 1 grey, 3 RGB."""
    latent: int = 165
    """Numbers of a frame's latent, as many as SQAIR's three objects have."""
    hidden: int = 256
    """Units of layers and of the recurrence."""
    deviation: float = 0.3
    """Standard deviation of a pixel, given the latent."""
    particles: int = 5
    """Samples of each clip in training."""
    shown_particles: int = 0
    """Samples in eval mode, of which the first is shown; 0 = none: means of latents."""
    objective: str = "fivo"
    """The bound that is trained: fivo, where particles are resampled once few count; or iwae, where they never are.
    In eval mode they never are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "channels", "latent", "hidden", "particles")
        require_at_least(self, 8, "size")
        require_at_least(self, 0, "shown_particles")
        require_at_least(self, 1e-3, "deviation")
        require_one_of(self, "objective", OBJECTIVES)

    @abstractmethod
    def networks(self) -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
        """Encoder and decoder of frames, and the hidden layers of the latent's network."""

    def build(self) -> "Recurrent":
        """The model, randomly initialised from torch's default generator."""
        return Recurrent(self)


@dataclass(frozen=True)
class MLPVRNN(VRNN):
    """The VRNN with fully connected networks."""

    @classmethod
    def small(cls) -> "MLPVRNN":
        """See ModelConfig."""
        return cls(size=16, channels=3, latent=4, hidden=8, particles=3)

    def networks(self) -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
        """See VRNN."""
        encoder = DenseEncoder(self.channels, self.size, self.hidden)
        decoder = DenseDecoder(2 * self.hidden, self.channels, self.size, self.hidden)
        return encoder, decoder, (self.hidden, self.hidden)


@dataclass(frozen=True)
class ConvVRNN(VRNN):
    """The VRNN that sees and draws frames by convolutions."""

    maps: int = 32
    """Channels of the first three convolutions; the last three have twice as many."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "maps")

    @classmethod
    def small(cls) -> "ConvVRNN":
        """See ModelConfig."""
        return cls(size=16, channels=3, latent=4, hidden=8, particles=3, maps=4)

    def networks(self) -> tuple[nn.Module, nn.Module, tuple[int, ...]]:
        """See VRNN."""
        encoder = ConvEncoder(self.channels, self.size, self.hidden, self.maps)
        decoder = ConvDecoder(2 * self.hidden, self.channels, self.size, self.hidden, self.maps)
        return encoder, decoder, (self.hidden,)


class Result(NamedTuple):
    """What is kept of all frames."""

    kl: Float[Tensor, "bp t"]
    likelihood: Float[Tensor, "bp t"]
    prediction: Float[Tensor, "b t c h w"]  # of each frame, before it was seen


class Recurrent(VideoModel):
    """A VRNN."""

    def __init__(self, config: VRNN) -> None:
        super().__init__()
        self.config = config
        self.samples = config.shown_particles > 0
        hidden, numbers = config.hidden, 2 * config.latent
        self.encoder, self.decoder, layers = config.networks()
        self.latent = mlp((config.latent, *layers), last=True)
        self.lstm = LSTM(2 * hidden, hidden)
        self.prior = mlp((hidden, hidden, numbers))
        self.posterior = mlp((2 * hidden, hidden, numbers))

    @property
    def _particles(self) -> int:
        return self.config.particles if self.training else max(1, self.config.shown_particles)

    def forward(self, video: Video, step: int) -> ModelOutput:
        """The bound of a frame, on average, and predictions of all frames but the first.

        Raises:
            Unfit: frames are not of the configured size and channels, or fewer than two.
        """
        frames = fitting(video.frames, self.config.channels, self.config.size, least=2)
        state, result = self._infer(frames)
        clips, steps = frames.shape[:2]
        if self._resamples:
            log_weights = state.bound[:, None] + state.log_weight.view(clips, -1)
        else:
            log_weights = (result.likelihood - result.kl).sum(1).view(clips, -1)
        bound = iwae(log_weights) / steps
        likelihood, kl = (x.detach().view(clips, -1, steps) for x in (result.likelihood, result.kl))
        terms = {"bound": bound.mean().detach(), "log_likelihood": likelihood.mean(), "kl": kl.mean()}
        said = Particles(log_weights.detach(), likelihood, kl)
        prediction = result.prediction[:, 1:]
        return ModelOutput(-bound.mean(), terms, lambda: Views(prediction=prediction, particles=said))

    @torch.no_grad()
    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """By the prior: each frame from the mean of its latent, and fed back.

        Raises:
            Unfit: frames are not of the configured size and channels.
            ValueError: horizon is below 1.
        """
        if horizon < 1:
            raise ValueError(f"horizon: got {horizon}, needs at least 1")
        frames = fitting(video.frames, self.config.channels, self.config.size, least=1)
        state, _ = self._infer(frames)
        hidden, cell, seen, latent = (x[:: self._particles] for x in state[:4])
        future = []
        for _ in range(horizon):
            hidden, cell = self.lstm(torch.cat([seen, latent], 1), hidden, cell)
            latent = self.latent(normal(self.prior(hidden)).mean)
            future.append(self.decoder(torch.cat([latent, hidden], 1)).clamp(0, 1))
            seen = self.encoder(future[-1])
        return torch.stack(future, 1)

    @property
    def _resamples(self) -> bool:
        return self.training and self.config.objective == "fivo" and self._particles > 1

    def _infer(self, frames: Float[Tensor, "b t c h w"]) -> tuple[State, Result]:
        (clips, steps), config, particles = frames.shape[:2], self.config, self._particles
        rows, draws = clips * particles, self.training or self.samples
        # Drawn here, not in the cell, so that every way to cut time into blocks sees the same numbers.
        noise, chance = frames.new_zeros(rows, steps, config.latent), frames.new_zeros(rows, steps)
        if draws:
            noise, chance = torch.randn_like(noise), torch.rand_like(chance)
        parts = Parts(self.lstm, self.prior, self.posterior, self.latent, self.decoder)
        cell = Cell(parts, particles, draws, self._resamples, config.deviation)
        nothing = frames.new_zeros(rows, config.hidden)
        before = State(nothing, nothing, nothing, nothing, nothing[:, 0], nothing[:clips, 0])

        def prepare(x: tuple[Tensor, Tensor, Tensor]) -> Inputs:
            seen, noise, chance = x
            return Inputs(seen, over_time(self.encoder, seen), noise, chance)

        def finish(x: tuple[Step, Tensor]) -> Result:
            kept, seen = x
            likelihood = kept.likelihood
            if not self._resamples:
                means = over_time(self.decoder, kept.drawn)
                seen = seen.repeat_interleave(particles, 0)
                likelihood = log_likelihood(seen, means.unsqueeze(2), config.deviation)[..., 0]
            with torch.no_grad():
                prediction = over_time(self.decoder, kept.expected).clamp(0, 1)
            return Result(kept.kl, likelihood, prediction)

        def step(state: State, inputs: Inputs) -> tuple[State, tuple[Step, Tensor]]:
            state, kept = cell(state, inputs)
            return state, (kept, inputs.frame)

        return unroll(
            step,
            before,
            (frames, noise, chance),
            remat=Remat.parse(config.remat),
            prepare=prepare,
            finish=finish,
        )
