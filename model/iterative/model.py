"""Iterative inference over a clip: the loss of all its cells, and roll-outs that see their own frames."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from model.bounds import fitting
from model.interface import ModelOutput, Video, VideoModel
from model.iterative.cell import Cell, Inputs, Parts, State, Step
from model.iterative.config import OverTime, Refining
from model.iterative.grid import Grid, line
from model.iterative.networks import Correction, Decoder, Prior, Reader, Recurrence, Start
from model.iterative.views import Shown, terms
from model.probability.normal import fixed_noise
from model.remat import Remat
from model.unroll import unroll

SMALL: dict[str, Any] = dict(
    size=16, slots=3, latent=4, hidden=8, decodes=3, decoder_width=4, decoder_hidden=6, maps=4, pool=4,
    strides=(1, 2), likelihood_weight=1.0, kl_weight=0.1, entropy_weight=0.1,
)  # fmt: skip


@dataclass(frozen=True)
class STIterative(OverTime):
    """The spatio-temporal model; defaults are the paper's for balls in colour."""

    temporal: ClassVar[bool] = True

    @classmethod
    def small(cls) -> "STIterative":
        """See ModelConfig."""
        return cls(**SMALL)

    def build(self) -> "Iterative":
        """The model, randomly initialised from torch's default generator."""
        return Iterative(self)


@dataclass(frozen=True)
class IODINE(Refining):
    """The same on each frame by itself, as the paper's baseline."""

    predicts: ClassVar[bool] = False
    independent: ClassVar[bool] = True

    likelihood_weight: float = 10.0
    """Of the negative log-likelihood in the loss."""
    kl_weight: float = 1.0
    """Of the divergence of posteriors from a normal prior of variance 1."""
    decoder_hidden: int = 0
    """Units of a layer between latents and the decoder's maps; 0 = none."""

    @classmethod
    def small(cls) -> "IODINE":
        """See ModelConfig."""
        return cls(**SMALL)

    def build(self) -> "Iterative":
        """The model, randomly initialised from torch's default generator."""
        return Iterative(self)


@dataclass(frozen=True)
class SeqIODINE(IODINE):
    """IODINE that is refined once for each frame of a clip, as if all were the same."""

    predicts: ClassVar[bool] = True
    independent: ClassVar[bool] = False
    alone: ClassVar[bool] = True

    @classmethod
    def small(cls) -> "SeqIODINE":
        """See ModelConfig."""
        return cls(**SMALL)

    def grid(self, frames: int) -> Grid:
        """See Refining."""
        return line(frames)


class Iterative(VideoModel):
    """Slots of a clip, by iterative inference."""

    def __init__(self, config: Refining) -> None:
        super().__init__()
        self.config = config
        self.independent = config.independent
        over_time = config if isinstance(config, OverTime) else None
        self.conditional = over_time is not None and over_time.conditional
        self.start = Start(config)
        self.decoder = Decoder(config, config.hidden if self.conditional else 0)
        self.reader = Reader(config)
        vectors = 4 if config.gradients else 2
        self.recurrence = Recurrence(config, config.hidden + vectors * config.latent)
        self.correction = Correction(config)
        self.prior = Prior(over_time) if over_time and over_time.prior != "standard" else None

    def forward(self, video: Video, step: int) -> ModelOutput:
        """The loss of a clip, or of a frame where each stands alone, on average; views of all frames.

        Raises:
            Unfit: frames are not of the configured size and channels.
        """
        config = self.config
        frames = fitting(video.frames, config.channels, config.size, least=1)
        clips = len(frames)
        if config.independent:
            frames = frames.flatten(0, 1)[:, None]
        grid = config.grid(frames.shape[1])
        _, steps = self.infer(frames, grid, self.noise(frames, grid))
        each = (
            config.likelihood_weight * steps.nll
            + config.kl_weight * steps.kl
            + config.entropy_weight * steps.entropy
        )
        loss = (each * grid.weight.to(each)).sum(1).mean()
        shown = Shown(steps.masks, steps.means, grid, clips, config.predicts)
        return ModelOutput(loss, terms(steps, shown, frames), shown)

    @torch.no_grad()
    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """Each frame as it is first drawn, and taken for the frame itself; gradients are none.

        Raises:
            Unfit: frames are not of the configured size and channels.
            ValueError: horizon is below 1, or each frame stands alone.
        """
        if not self.config.predicts:
            raise ValueError("iodine predicts no frames: it sees each by itself; take st-iterative")
        if horizon < 1:
            raise ValueError(f"horizon: got {horizon}, needs at least 1")
        frames = fitting(video.frames, self.config.channels, self.config.size, least=1)
        seen = frames.shape[1]
        grid = self.config.grid(seen + horizon)
        noise = self.noise(frames, grid)
        upto = int(grid.lasts[seen - 1]) + 1
        past = Grid(*(x[:, :upto] for x in grid))
        state, _ = self.infer(frames, past, noise[:, :upto])
        cell = self.cell(len(frames))
        future = []
        for i in grid.firsts[seen:].tolist():
            at = Grid(*(x[:, i] for x in grid.to(frames.device)))
            at = at._replace(refines=torch.ones_like(at.refines))
            state, step = cell(state, Inputs(None, noise[:, i], at))
            future.append((step.masks[:, :, None] * step.means).sum(1))
        return torch.stack(future, 1)

    def noise(self, frames: Float[Tensor, "b t c h w"], grid: Grid) -> Float[Tensor, "b cells k d"]:
        """What posteriors are drawn with.

        In training once for a clip's slots, and, but for cells that restart, for every cell if so configured. In eval
        mode slots start from the same noise in every clip, for they must differ, and go on by means.
        """
        config, clips, cells = self.config, len(frames), grid.frame.shape[1]
        shape = (config.slots, config.latent)
        restarts = grid.restarts.to(frames.device)[:, :, None, None]
        if self.training:
            first = torch.randn(clips, 1, *shape, device=frames.device)
            if config.noise == "once":
                return first.expand(-1, cells, -1, -1)
            return torch.where(restarts, first, torch.randn(clips, cells, *shape, device=frames.device))
        return torch.where(restarts, fixed_noise(shape, frames), 0.0).expand(clips, -1, -1, -1)

    def infer(
        self, frames: Float[Tensor, "b t c h w"], grid: Grid, noise: Float[Tensor, "b cells k d"]
    ) -> tuple[State, Step]:
        """The last state, and what is kept of all cells, for given noise."""
        rows = len(frames) * self.config.slots
        cell = self.cell(len(frames))
        nothing = frames.new_zeros(rows, self.config.hidden)
        before = State(nothing, nothing, nothing, nothing, torch.zeros_like(cell.start))

        def prepare(x: tuple[Grid, Tensor]) -> Inputs:
            at, noise = x
            return Inputs(frames[:, at.frame[0]], noise, at)

        remat, compile = Remat.parse(self.config.remat), self.config.compile
        inputs = grid.to(frames.device), noise
        return unroll(cell, before, inputs, remat=remat, compile=compile, prepare=prepare)

    def cell(self, clips: int) -> Cell:
        """A cell for so many clips."""
        parts = Parts(self.decoder, self.reader, self.recurrence, self.correction, self.prior)
        return Cell(self.config, parts, self.start(clips * self.config.slots), self.conditional)
