"""AIR and SQAIR: inference over a clip, the bound, and roll-outs by what is expected."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils._pytree import tree_map

from model.interface import ModelOutput, Particles, Video, Views
from model.layers.dense import mlp
from model.probability.estimators import FORMS
from model.sqair.cell import CarryOn, Cell, Nothing
from model.sqair.config import Scene, Sequence
from model.sqair.generation import Generation
from model.sqair.inference import Inference
from model.sqair.layers import Start
from model.sqair.propagation import Expectation, Known, Propagation
from model.sqair.views import Shown, views


@dataclass(frozen=True)
class AIR(Scene):
    """Attend, infer, repeat: SQAIR on each frame by itself, as the paper's baseline."""

    predicts: ClassVar[bool] = False
    independent: ClassVar[bool] = True

    @classmethod
    def small(cls) -> "AIR":
        """See ModelConfig."""
        return cls(size=16, channels=3, what=4, glimpse=6, hidden=8, particles=2)

    def build(self) -> "FrameByFrame":
        """The model, randomly initialised from torch's default generator."""
        return FrameByFrame(self)


@dataclass(frozen=True)
class MLPSQAIR(Sequence):
    """Sequential attend, infer, repeat, with fully connected networks."""

    @classmethod
    def small(cls) -> "MLPSQAIR":
        """See ModelConfig."""
        return cls(size=16, channels=3, what=4, glimpse=6, hidden=8, particles=2)

    def build(self) -> "SQAIR":
        """The model, randomly initialised from torch's default generator."""
        return SQAIR(self)


@dataclass(frozen=True)
class ConvSQAIR(Sequence):
    """Sequential attend, infer, repeat, with convolutional networks."""

    convolutional: ClassVar[bool] = True

    @classmethod
    def small(cls) -> "ConvSQAIR":
        """See ModelConfig."""
        return cls(size=16, channels=3, what=4, glimpse=8, hidden=8, particles=2)

    def build(self) -> "SQAIR":
        """The model, randomly initialised from torch's default generator."""
        return SQAIR(self)


class FrameByFrame(Inference):
    """AIR: every frame is a clip of its own."""

    independent = True

    def __init__(self, config: AIR) -> None:
        super().__init__(config, sequence=False)

    def cell(self, step: int, *, first: bool) -> Cell:
        """Discovery alone."""
        odds = self.scene.log_odds.at(step)
        return Cell(
            self.scene, Nothing(self.scene), self.discovery, self.glimpses, self.count_prior, self.where_prior,
            sampled=self.sampled, truncate=False, odds=torch.tensor([odds, odds]),
        )  # fmt: skip

    def forward(self, video: Video, step: int) -> ModelOutput:
        """The bound of a frame, and views of all frames.

        Raises:
            Unfit: frames are not of the configured size and channels.
        """
        frames = self.checked(video.frames, least=1)
        _, result = self.infer(frames.flatten(0, 1)[:, None], step)
        w = self.weights(result)
        bound = self.bound(result, w)
        clips, steps = frames.shape[:2]

        def whole(x: Tensor) -> Tensor:  # a frame's particles become a clip's
            return x.view(clips, steps, -1).transpose(1, 2)

        likelihood, kl = (whole(x.detach()) for x in w[:2])
        counts = whole((result.step.identities > 0).sum(-1))
        terms = {
            "bound": bound.mean().detach(),
            "log_likelihood": likelihood.mean(),
            "kl": kl.mean(),
            "objects": counts.float().mean(),
        }
        said = Particles((likelihood - kl).sum(2), likelihood, kl, counts)
        shown = Shown(*(x.view(clips, steps, *x.shape[2:]) for x in self.shown(result)))
        # Each frame finds its objects anew, so no number may come again.
        before = torch.arange(steps, device=counts.device)[:, None] * self.scene.slots
        shown = shown._replace(identities=(shown.identities + before) * (shown.identities > 0))
        return ModelOutput(-bound.mean(), terms, lambda: views(shown, said))

    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """Refused: AIR knows no motion.

        Raises:
            ValueError: always.
        """
        raise ValueError("air predicts no frames: it sees each by itself; take sqair-mlp")


class SQAIR(Inference):
    """SQAIR: objects are carried on from frame to frame."""

    def __init__(self, config: Sequence) -> None:
        super().__init__(config, sequence=True)
        self.config = config
        hidden = config.hidden
        self.propagation, self.expectation = Propagation(config), Expectation(config)
        self.objects = mlp((config.what + 4, hidden, hidden), last=True)
        self.temporal_start, self.prior_start = Start(hidden), Start(hidden)

    def cell(self, step: int, *, first: bool) -> Cell:
        """Propagation, but for the first frame; then discovery."""
        config, sampled = self.config, self.sampled
        odds = config.log_odds.at(step)
        starts = self.temporal_start, self.prior_start
        carry: Nothing | CarryOn = Nothing(config, self.known, starts)
        if not first:
            carry = CarryOn(self.propagation, self.expectation, self.objects, starts, self.glimpses, sampled)
        return Cell(
            config, carry, self.discovery, self.glimpses, self.count_prior, self.where_prior,
            sampled=sampled, truncate=config.truncate or config.objective not in FORMS,
            odds=torch.tensor([odds, min(odds, config.later_log_odds)]),
        )  # fmt: skip

    def forward(self, video: Video, step: int) -> ModelOutput:
        """The bound of a frame, on average, and views of all frames.

        Raises:
            Unfit: frames are not of the configured size and channels.
        """
        frames = self.checked(video.frames, least=1)
        _, result = self.infer(frames, step)
        w = self.weights(result)
        bound = self.bound(result, w)
        likelihood, kl = (x.detach().view(-1, self.particles, x.shape[1]) for x in w[:2])
        found = result.step.found.detach().sum(-1)
        counts = (result.step.identities > 0).sum(-1)
        terms = {
            "bound": bound.mean().detach() / frames.shape[1],
            "log_likelihood": likelihood.mean(),
            "kl": kl.mean(),
            "objects": counts.float().mean(),
            "discovered_first": found[:, 0].mean(),
            "discovered_later": found[:, 1:].sum() / max(found[:, 1:].numel(), 1),
        }
        shown = self.shown(result)
        said = Particles((likelihood - kl).sum(2), likelihood, kl, counts.view(*likelihood.shape))
        prediction = result.prediction[:, 1:]
        return ModelOutput(-bound.mean() / frames.shape[1], terms, lambda: views(shown, said, prediction))

    @torch.no_grad()
    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """By the prior: each object as it is expected, means and the likelier presence; nothing new appears.

        Raises:
            Unfit: frames are not of the configured size and channels.
            ValueError: horizon is below 1.
        """
        if horizon < 1:
            raise ValueError(f"horizon: got {horizon}, needs at least 1")
        state, _ = self.infer(self.checked(video.frames, least=1), 0)
        known = Known(*(x[:: self.particles] for x in state[:5]))
        future = []
        for _ in range(horizon):
            expected = self.expectation(known)
            presence = known.presence * (expected.logits > 0)
            where, what = expected.where.mean, expected.what.mean
            future.append(self.drawing(what, where, presence[:, None])[0][:, 0].clamp(0, 1))
            known = known._replace(where=where, what=what, presence=presence, prior=expected.state)
        return torch.stack(future, 1)

    @torch.no_grad()
    def sample(self, clips: int, frames: int, step: int, first: Int[Tensor, "b"] | None = None) -> Views:
        """Clips drawn from the prior by torch's default generator; `prediction` is all frames, without noise of pixels.

        Args:
            clips: how many.
            frames: of each.
            step: sets the odds of new objects.
            first: how many objects there are in the first frame; None = as the prior has it.

        Raises:
            ValueError: clips or frames are below 1, or there are more objects than slots.
        """
        if clips < 1 or frames < 1:
            raise ValueError(f"clips, frames: got {clips}, {frames}, need at least 1")
        if first is not None and not ((first >= 0) & (first <= self.config.slots)).all():
            raise ValueError(f"first: got {first.tolist()}, allowed are 0 to {self.config.slots} objects")
        cell = self.cell(step, first=False)
        generation = Generation(
            self.config, self.expectation, self.objects, (self.temporal_start, self.prior_start),
            self.count_prior, self.where_prior, truncate=cell.truncate, odds=cell.odds,
        )  # fmt: skip
        state = self._before(self.temporal_start.value, clips)
        made, shown = [], []
        for t in range(frames):
            state = generation(state, first if t == 0 else None)
            drawn = self.drawing.drawn(state.what, state.where)
            made.append(self.drawing.summed(drawn, state.presence[:, None])[:, 0].clamp(0, 1))
            shown.append(Shown(state.where, state.presence, state.identities, drawn.objects))
        return views(tree_map(lambda *x: torch.stack(x, 1), *shown), None, torch.stack(made, 1))
