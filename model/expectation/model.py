"""N-EM and R-NEM: training over a clip, its masks, and roll-outs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.bounds import fitting, require_at_least, require_one_of
from model.expectation.cell import Cell, Inputs, Parts, State, Step
from model.expectation.networks import Decoder, Encoder, Recurrence, Relations
from model.expectation.posterior import PIXELS, expected, initial
from model.interface import ModelConfig, ModelOutput, Video, VideoModel, Views
from model.probability.normal import fixed_noise
from model.remat import Remat
from model.unroll import unroll


@dataclass(frozen=True)
class Expectation(ModelConfig, ABC):
    """What can be chosen of a model of expectation maximisation. Defaults are R-NEM's for bouncing balls."""

    size: int = 64
    """Side of the frames, pixels, a multiple of 8."""
    channels: int = 1
    """Colours of a frame: 1 grey, 3 RGB; each as a pixel of its own."""
    slots: int = 5
    """Components of the mixture, 2 or more: the balls, and one more."""
    hidden: int = 250
    """Units of a slot's state."""
    features: int = 512
    """Units of the layers between frames and states."""
    maps: int = 16
    """Channels of the first convolution; the next have two and four times as many."""
    pixels: str = "bernoulli"
    """How a pixel is distributed: bernoulli; or gaussian, of deviation 0.25 in the E-step and 1 in the loss."""
    noise: float = 0.2
    """Share of pixels of a seen frame that are inverted in training, 0 to 1; of gaussian pixels, the deviation of what
    is added."""
    inter_weight: float = 1.0
    """Weight of what slots predict of pixels that others explain, 0 or more."""
    first_steps: int = 0
    """Steps on the first frame before the clip goes on; 0 in the paper, where it is explained by chance."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "channels", "hidden", "features", "maps")
        require_at_least(self, 2, "slots")
        require_at_least(self, 8, "size")
        require_at_least(self, 0, "noise", "inter_weight", "first_steps")
        require_one_of(self, "pixels", PIXELS)
        if self.size % 8:
            raise ValueError(f"size: got {self.size}, needs a multiple of 8, which is halved three times")
        if self.noise > 1:
            raise ValueError(f"noise: got {self.noise}, needs at most 1")

    @abstractmethod
    def core(self) -> nn.Module:
        """How the states of slots go on."""

    def build(self) -> "ExpectationMaximisation":
        """The model, randomly initialised from torch's default generator."""
        return ExpectationMaximisation(self)


@dataclass(frozen=True)
class NEM(Expectation):
    """N-EM on video: slots that do not know of one another (RNN-EM in R-NEM's comparisons)."""

    @classmethod
    def small(cls) -> "NEM":
        """See ModelConfig."""
        return cls(size=16, channels=3, slots=3, hidden=6, features=8, maps=4)

    def core(self) -> nn.Module:
        """See Expectation."""
        return Recurrence(self.hidden, self.features)


@dataclass(frozen=True)
class RNEM(Expectation):
    """R-NEM: slots that act on one another."""

    attention: int = 100
    """Units of the network that says how much a slot matters to another."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "attention")

    @classmethod
    def small(cls) -> "RNEM":
        """See ModelConfig."""
        return cls(size=16, channels=3, slots=3, hidden=6, features=8, maps=4, attention=5)

    def core(self) -> nn.Module:
        """See Expectation."""
        return Relations(self.hidden, self.features, self.attention)


class ExpectationMaximisation(VideoModel):
    """N-EM or R-NEM, by its core."""

    def __init__(self, config: Expectation) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.channels, config.size, config.maps, config.features)
        self.core = config.core()
        self.decoder = Decoder(config.hidden, config.channels, config.size, config.maps, config.features)

    def forward(self, video: Video, step: int) -> ModelOutput:
        """The loss of a step, on average; masks of all frames, predictions of all but the first.

        Raises:
            Unfit: frames are not of the configured size and channels, or fewer than two.
        """
        frames = fitting(video.frames, self.config.channels, self.config.size, least=2)
        start, _, result = self._infer(frames)
        weight = self.config.inter_weight
        loss = (result.intra + weight * result.inter).mean()
        terms = {name: getattr(result, name).mean().detach() for name in ("intra", "inter", "upper_bound")}
        # Of the first frame what was believed of it when the clip went on.
        skipped = self.config.first_steps
        if skipped:
            gamma, psi = result.gamma[:, skipped - 1 :], result.psi[:, skipped - 1 :]
        else:
            gamma = torch.cat([start.gamma[:, None], result.gamma], 1)
            psi = torch.cat([start.psi[:, None], result.psi], 1)
        prediction = result.prediction[:, skipped:]
        return ModelOutput(
            loss,
            terms,
            lambda: Views(prediction=prediction, visible_masks=gamma[:, :, :, 0], slot_frames=psi),
        )

    @torch.no_grad()
    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """Each frame as slots predict it, explained by its own brightest predictions, and fed back.

        Raises:
            Unfit: frames are not of the configured size and channels.
            ValueError: horizon is below 1.
        """
        if horizon < 1:
            raise ValueError(f"horizon: got {horizon}, needs at least 1")
        frames = fitting(video.frames, self.config.channels, self.config.size, least=1)
        state, seen, future = self._start(frames), frames[:, -1], []
        if frames.shape[1] + self.config.first_steps > 1:
            _, state, _ = self._infer(frames)
        for _ in range(horizon):
            theta, psi = self._cell.predicted(state, seen)
            seen, gamma = expected(psi, self._cell.pixels)
            state = State(theta, psi, gamma)
            future.append(seen)
        return torch.stack(future, 1)

    @property
    def _cell(self) -> Cell:
        return Cell(Parts(self.encoder, self.core, self.decoder), PIXELS[self.config.pixels])

    def _start(self, frames: Float[Tensor, "b t c h w"]) -> State:
        (clips, _, channels, height, width), slots = frames.shape, self.config.slots
        shape = slots, 1, height, width
        if self.training:
            noise = torch.randn(clips, *shape, device=frames.device)
        else:
            noise = fixed_noise(shape, frames).expand(clips, *shape)
        theta = frames.new_zeros(clips, slots, self.config.hidden)
        return State(theta, frames.new_zeros(clips, slots, channels, height, width), initial(noise))

    def _infer(self, frames: Float[Tensor, "b t c h w"]) -> tuple[State, State, Step]:
        """The state before the first step, after the last, and what is kept of all steps."""
        again = frames[:, :1].expand(-1, self.config.first_steps, -1, -1, -1)
        frames = torch.cat([again, frames], 1)
        start = self._start(frames)
        inputs = Inputs(self._noisy(frames[:, :-1]), frames[:, 1:])
        state, result = unroll(self._cell, start, inputs, remat=Remat.parse(self.config.remat))
        return start, state, result

    def _noisy(self, frames: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        """With pixels inverted, or noise added, in training."""
        if not self.training or not self.config.noise:
            return frames
        if self.config.pixels == "gaussian":
            return frames + self.config.noise * torch.randn_like(frames)
        inverted = (torch.rand_like(frames) < self.config.noise).to(frames.dtype)
        return frames + inverted - 2 * frames * inverted
