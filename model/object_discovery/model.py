"""The object-discovery model: decompose each frame into slots in depth order, move them, compose the next frame."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from model.interface import ModelOutput, Video, VideoModel, Views
from model.layers.conv_lstm import ConvLSTMWeights
from model.object_discovery.config import Config
from model.object_discovery.health import slot_health
from model.object_discovery.losses import (
    absolute_error,
    change_weights,
    compactness,
    consistency,
    pair_of_frames,
    sparsity,
)
from model.object_discovery.masks import Encoded, MaskNet, binarise, places
from model.object_discovery.memory import BackgroundNet, seen_by_slots, update_colours
from model.object_discovery.motion import MotionNet
from model.object_discovery.ordering import OrderNet
from model.object_discovery.slots import Moved, Slots, State
from model.ops.composition import compose, to_identities, to_ranks, visible
from model.ops.sinkhorn import gumbel_noise, hard_permutation, sinkhorn
from model.ops.spatial_transformer import identity, inverse, warp
from model.remat import Remat
from model.unroll import unroll


class Annealed(NamedTuple):
    """The values that depend on the training step, and whether to draw."""

    alpha: float
    temperature: float
    draw: bool


class ObjectDiscovery(VideoModel):
    """F1 to F5 and the objective of arXiv 2103.05669."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        inputs = config.channels * (2 if config.frame_difference else 1)
        readers = {"size": config.size, "hidden": config.reader_hidden}
        widths = (config.reader_width // 2 or 1,) + (config.reader_width,) * (config.halvings - 1)
        self.masks = MaskNet(
            channels=inputs,
            slots=config.slots,
            width=config.width,
            hidden=config.hidden,
            kernel=config.kernel,
            blocks=config.blocks,
            stride=config.stem_stride,
            bias=config.mask_bias,
            tracking=config.tracking,
        )
        self.order = OrderNet(channels=config.channels, slots=config.slots, widths=widths, **readers)
        self.motion = MotionNet(
            channels=inputs,
            kind=config.motion,
            widths=widths,
            shift_bound=config.shift_bound,
            shape_bound=config.shape_bound,
            **readers,
        )
        self.background = BackgroundNet(config.background_width)

    def forward(self, video: Video, step: int) -> ModelOutput:
        """Loss (eq. 17 without the weight decay) and views of frames 1..T-1; predictions are of frames 2..T.

        Raises:
            ValueError: frames are not of the configured size and channels, or fewer than two.
        """
        frames = self._checked(video.frames, least=2)
        config = self.config
        anneal = Annealed(config.alpha.at(step), config.temperature.at(step), self.training)
        past, following = frames[:, :-1], frames[:, 1:]
        _, slots, prediction = self._decompose(self._start(frames), past, frames[:, :1], anneal)
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
        terms |= slot_health(slots.supports, slots.order, slots.motion)
        views = Views(
            prediction=prediction,
            amodal_masks=slots.supports,
            visible_masks=slots.visible,
            slot_frames=slots.colours,
            background=slots.background,
            depth_order=slots.order,
            motion=slots.motion,
        )
        return ModelOutput(
            loss, {name: term.detach() for name, term in terms.items()}, views.map(Tensor.detach)
        )

    @torch.no_grad()
    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """Feeds each predicted frame back as if it had been seen; masks, order and motion go on from there.

        Beyond the paper. Anneals are at their end and nothing is drawn.

        Raises:
            ValueError: frames are not of the configured size and channels, or horizon is below 1.
        """
        if horizon < 1:
            raise ValueError(f"horizon: got {horizon}, needs at least 1")
        frames = self._checked(video.frames, least=1)
        anneal = Annealed(self.config.alpha.end, self.config.temperature.end, draw=False)
        state, _, prediction = self._decompose(self._start(frames), frames, frames[:, :1], anneal)
        before, future = frames[:, -1:], [prediction[:, -1:]]
        while len(future) < horizon:
            state, _, prediction = self._decompose(state, future[-1], before, anneal)
            before = future[-1]
            future.append(prediction)
        return torch.cat(future, 1)

    def _checked(self, frames: Float[Tensor, "b t c h w"], least: int) -> Float[Tensor, "b t c h w"]:
        expected = (self.config.channels, self.config.size, self.config.size)
        if frames.shape[1] < least or frames.shape[2:] != expected:
            got, need = "x".join(map(str, frames.shape[1:])), "x".join(map(str, expected))
            raise ValueError(
                f"frames are {got}, the model takes {least} or more of {need} (t x c x h x w): set its size and"
                " channels to those of the data"
            )
        return frames.float()

    def _start(self, frames: Float[Tensor, "b t c h w"]) -> State:
        batch, _, channels, height, width = frames.shape
        slots, stride = self.config.slots, self.config.stem_stride
        lstm = self.masks.lstm.zero_state(frames.new_zeros(batch, 1, 1, height // stride, width // stride))
        empty = frames.new_zeros(batch, slots, height, width)
        return State(
            lstm=lstm,
            masks=empty,
            motion=identity(batch, slots, like=frames),
            colours=frames.new_zeros(batch, slots, channels, height, width),
            supports=places(slots, like=frames[:, 0]),
            expected=empty,
            background=frames.new_zeros(batch, channels, height, width),
            started=frames.new_zeros(batch),
        )

    def _decompose(
        self,
        state: State,
        frames: Float[Tensor, "b t c h w"],
        before: Float[Tensor, "b 1 c h w"],
        anneal: Annealed,
    ) -> tuple[State, Slots, Float[Tensor, "b t c h w"]]:
        """Algorithm 1 over `frames`; `before` is the frame before the first (itself at the start of a clip)."""
        batch, steps = frames.shape[:2]
        shape = (batch, steps, self.config.slots, self.config.slots)
        # Drawn here, not in the cell, so that every way to cut time into blocks sees the same numbers.
        noise = (
            self.config.noise * gumbel_noise(shape, like=frames) if anneal.draw else frames.new_zeros(shape)
        )
        seen = frames
        if self.config.frame_difference:
            seen = torch.cat([frames, frames - torch.cat([before, frames[:, :-1]], 1)], 2)

        lstm_weights = self.masks.lstm.weights(state.lstm)

        def prepare(x: Any) -> Any:
            seen, noise = x
            return seen, self.masks.encode(seen), noise

        def cell(state: State, x: Any) -> tuple[State, tuple[Slots, Moved]]:
            return self._step(state, *x, anneal=anneal, lstm_weights=lstm_weights)

        def finish(outputs: Any) -> Any:
            slots, moved = outputs
            return slots, compose(moved.weights, moved.colours, slots.background)  # eq. 14, 15

        state, (slots, prediction) = unroll(
            cell,
            state,
            (seen, noise),
            remat=Remat.parse(self.config.remat),
            prepare=prepare,
            finish=finish,
        )
        return state, slots, prediction

    def _step(
        self,
        state: State,
        seen: Float[Tensor, "b c2 h w"],
        encoded: Encoded,
        noise: Tensor,
        *,
        anneal: Annealed,
        lstm_weights: ConvLSTMWeights | None,
    ) -> tuple[State, tuple[Slots, Moved]]:
        frame = seen[:, : self.config.channels]
        started = state.started[:, None, None, None] > 0
        lstm, masks = self.masks.step(state.lstm, encoded, state.supports.detach(), lstm_weights)  # eq. 1
        supports = binarise(masks, anneal.alpha, self.config.beta)  # eq. 2, 3

        # The first frame is expected as its masks lie. Algorithm 1, line 4, applies gamma to them unsorted, which would
        # favour slots by number. Detached: an expectation is evidence, not something to change for the order's sake.
        expected = torch.where(started, state.expected, supports).detach()
        logits = self.order(supports, expected, frame)
        if anneal.draw:
            order = sinkhorn(logits + noise, anneal.temperature, self.config.sinkhorn_iterations)
        else:
            order = hard_permutation(logits)
        shown = to_identities(order, visible(to_ranks(order, supports)))  # eq. 4, 5

        colours = update_colours(frame, seen_by_slots(shown, self.config.memory), state.colours)  # eq. 10
        background = self.background(frame, shown, state.background)  # eq. 11

        before = torch.where(started, state.masks, masks)  # m_0 := m_1; Algorithm 1 is garbled there
        motion = self.motion(seen, masks, before, state.motion)  # eq. 7
        moved = warp(torch.cat([colours, supports[:, :, None]], 2), inverse(motion))  # eq. 12, 13
        moved_colours, moved_supports = moved[:, :, :-1], moved[:, :, -1]
        weights = to_identities(order, visible(to_ranks(order, moved_supports)))  # eq. 13

        state = State(
            lstm,
            masks,
            motion,
            moved_colours,
            moved_supports,
            weights,
            background,
            torch.ones_like(state.started),
        )
        slots = Slots(masks, supports, shown, order, motion, colours, background)
        return state, (slots, Moved(moved_colours, weights))
