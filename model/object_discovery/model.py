"""The object-discovery model: decompose each frame into slots in depth order, move them, compose the next frame."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from model.bounds import fitting
from model.interface import Followed, ModelOutput, Video, VideoModel, Views
from model.object_discovery.cell import Annealed, Cell, Decomposition, Inputs, state_before
from model.object_discovery.losses import (
    Objective,
    absolute_error,
    change_weights,
    compactness,
    consistency,
    pair_of_frames,
    sparsity,
)
from model.object_discovery.masks import MaskNet
from model.object_discovery.memory import BackgroundNet
from model.object_discovery.motion import MotionNet
from model.object_discovery.ordering import OrderNet, Trust, Undecided
from model.object_discovery.slots import Moved, Slots, State
from model.object_discovery.starts import from_change, from_groups, from_places
from model.ops.composition import compose_layers
from model.ops.sinkhorn import gumbel_noise
from model.remat import Remat
from model.schedule import Ramp
from model.unroll import unroll


@dataclass(frozen=True)
class Config(Objective, Decomposition):
    """The settings of all parts; see the package's docstring."""

    follows: ClassVar[bool] = True
    compiles: ClassVar[bool] = True

    @classmethod
    def small(cls) -> "Config":
        """See ModelConfig."""
        return cls(
            size=16, slots=3, width=4, hidden=4, kernel=3, blocks=1, stem_stride=2, frame_difference=True,
            tracking=True, reader_width=4, reader_hidden=8, background_width=4,
            sparsity=Ramp(0.1, 0.1), compactness=Ramp(0.1, 0.1),
        )  # fmt: skip

    def build(self) -> "ObjectDiscovery":
        """The model, randomly initialised from torch's default generator."""
        return ObjectDiscovery(self)


def _order(config: Config) -> OrderNet | Trust | Undecided:
    if config.evidence == "network":
        return OrderNet(config)
    return Trust() if config.evidence == "looks" else Undecided()


class _Carried(NamedTuple):
    """Behind a part of a video: the state, the last frame, and the prediction of the next one."""

    state: State
    frame: Float[Tensor, "b 1 c h w"]
    prediction: Float[Tensor, "b 1 c h w"]


def _views(slots: Slots, prediction: Float[Tensor, "b q c h w"]) -> Views:
    return Views(
        prediction=prediction,
        amodal_masks=slots.supports,
        visible_masks=slots.visible,
        slot_frames=slots.colours,
        background=slots.background,
        depth_order=slots.order,
        motion=slots.motion,
    ).map(Tensor.detach)


class ObjectDiscovery(VideoModel):
    """F1 to F5 and the objective of arXiv 2103.05669."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.masks = MaskNet(config)
        self.order = _order(config)
        self.motion = MotionNet(config)
        self.background = BackgroundNet(config)

    def forward(self, video: Video, step: int) -> ModelOutput:
        """Loss (eq. 17 without the weight decay) and views of frames 1..T-1; predictions are of frames 2..T.

        Raises:
            Unfit: frames are not of the configured size and channels, or fewer than two.
        """
        frames = self._checked(video.frames, least=2)
        config = self.config
        anneal = self._annealed(step, draw=self.training)
        past, following = frames[:, :-1], frames[:, 1:]
        _, slots, prediction = self._from_start(past, anneal)
        pair = pair_of_frames(frames.shape[1] - 1, draw=self.training)
        weights = change_weights(past, following, config.change_weight)
        terms = {
            "reconstruction": absolute_error(prediction, following, weights),
            "consistency": consistency(slots, frames, pair, config.change_weight),
            "sparsity": sparsity(slots.masks),
            "compactness": compactness(slots.masks),
        }
        loss = (
            config.reconstruction * terms["reconstruction"]
            + config.consistency * terms["consistency"]
            + config.sparsity.at(step) * terms["sparsity"]
            + config.compactness.at(step) * terms["compactness"]
        )
        views = _views(slots, prediction)
        return ModelOutput(loss, {name: term.detach() for name, term in terms.items()}, lambda: views)

    @torch.no_grad()
    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """Feeds each predicted frame back as if it had been seen; masks, order and motion go on from there.

        Beyond the paper. Anneals are at their end and nothing is drawn.

        Raises:
            Unfit: frames are not of the configured size and channels.
            ValueError: horizon is below 1.
        """
        if horizon < 1:
            raise ValueError(f"horizon: got {horizon}, needs at least 1")
        frames = self._checked(video.frames, least=1)
        anneal = self._annealed(None, draw=False)
        state, _, prediction = self._from_start(frames, anneal)
        before, future = frames[:, -1:], [prediction[:, -1:]]
        while len(future) < horizon:
            state, _, prediction = self._decompose(state, future[-1], before, anneal)
            before = future[-1]
            future.append(prediction)
        return torch.cat(future, 1)

    @torch.no_grad()
    def follow(
        self, frames: Float[Tensor, "b t c h w"], step: int, before: Followed | None = None
    ) -> Followed:
        """See VideoModel. With starts = change slots are found if the first part has two frames.

        Raises:
            Unfit: frames are not of the configured size and channels.
        """
        frames = self._checked(frames, least=1)
        anneal = self._annealed(step, draw=False)
        if before is None:
            state, slots, following = self._from_start(frames, anneal)
            prediction = following[:, :-1]
        else:
            carried = cast(_Carried, before.carried)
            state, slots, following = self._decompose(carried.state, frames, carried.frame, anneal)
            prediction = torch.cat([carried.prediction, following[:, :-1]], 1)
        return Followed(_views(slots, prediction), _Carried(state, frames[:, -1:], following[:, -1:]))

    def _annealed(self, step: int | None, draw: bool) -> Annealed:
        """As they are after so many steps; None = at their end."""
        ramps = self.config.alpha, self.config.temperature
        numbers = [ramp.end if step is None else ramp.at(step) for ramp in ramps]
        # On the CPU, from where a GPU's kernels take single numbers too.
        alpha, temperature = torch.tensor(numbers)
        return Annealed(alpha, temperature, draw)

    def _checked(self, frames: Float[Tensor, "b t c h w"], least: int) -> Float[Tensor, "b t c h w"]:
        return fitting(frames, self.config.channels, self.config.size, least)

    def _from_start(
        self, frames: Float[Tensor, "b t c h w"], anneal: Annealed
    ) -> tuple[State, Slots, Float[Tensor, "b t c h w"]]:
        """Algorithm 1 from the first frame of a clip.

        With starts = change slots start at what in the first frame is about to change: masks of that frame look at
        the second one. Its prediction does not: until something has moved, that is the frame itself.
        """
        config, first = self.config, frames[:, 0]
        ahead = config.starts == "change"
        if ahead and frames.shape[1] > 1:
            start = from_change(config.slots, first, frames[:, 1], config.merging)
        elif config.starts == "clip":
            start = from_groups(config.slots, first, config.merging)
        else:
            start = from_places(config.slots, first)
        if ahead and frames.shape[1] == 1:
            start = start._replace(supports=torch.zeros_like(start.supports))  # no slot looks anywhere
        state = state_before(config, self.masks, start, frames)
        state, slots, prediction = self._decompose(state, frames, frames[:, :1], anneal, start.salience)
        if ahead:
            prediction = torch.cat([first[:, None], prediction[:, 1:]], 1)
        return state, slots, prediction

    def _decompose(
        self,
        state: State,
        frames: Float[Tensor, "b t c h w"],
        before: Float[Tensor, "b 1 c h w"],
        anneal: Annealed,
        salience: Float[Tensor, "b h w"] | None = None,
    ) -> tuple[State, Slots, Float[Tensor, "b t c h w"]]:
        """Algorithm 1 over `frames`; `before` is the frame before the first (itself at the start of a clip).

        `salience`: of the first of `frames`, where it begins the clip.
        """
        batch, steps = frames.shape[:2]
        shape = (batch, steps, self.config.slots, self.config.slots)
        # Drawn here, not in the cell, so that every way to cut time into blocks sees the same numbers.
        noise = (
            self.config.noise * gumbel_noise(shape, like=frames) if anneal.draw else frames.new_zeros(shape)
        )
        seen = frames
        salient = frames.new_zeros(batch, steps, *frames.shape[-2:])
        if salience is not None:
            salient[:, 0] = salience
        if self.config.frame_difference:
            seen = torch.cat([frames, frames - torch.cat([before, frames[:, :-1]], 1)], 2)

        cell = Cell(
            self.config,
            self.masks,
            self.order,
            self.motion,
            self.background,
            anneal,
            self.masks.lstm.weights(state.lstm),
        )

        def prepare(x: tuple[Tensor, Tensor, Tensor]) -> Inputs:
            seen, noise, salient = x
            return Inputs(seen, self.masks.encode(seen, salient), noise)

        def finish(outputs: tuple[Slots, Moved]) -> tuple[Slots, Tensor]:
            slots, moved = outputs
            return slots, compose_layers(moved.weights, moved.colours, slots.background)  # eq. 14, 15

        state, (slots, prediction) = unroll(
            cell,
            state,
            (seen, noise, salient),
            remat=Remat.parse(self.config.remat),
            compile=self.config.compile,
            prepare=prepare,
            finish=finish,
        )
        return state, slots, prediction
