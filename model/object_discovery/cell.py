"""Algorithm 1: one time step, equation by equation, and the state from which it starts."""

from abc import ABC
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from model.layers.conv_lstm import ConvLSTMWeights
from model.object_discovery.looks import compared, nearness, recognised, seen_again
from model.object_discovery.masks import Encoded, MaskNet, Masks, binarise
from model.object_discovery.matching import matched_shift
from model.object_discovery.memory import BackgroundNet, Memories, seen_by_slots, update_colours
from model.object_discovery.motion import Motion, MotionNet
from model.object_discovery.ordering import Ordering, OrderNet, Trust, Undecided
from model.object_discovery.slots import Moved, Slots, State
from model.object_discovery.starts import Start
from model.ops.composition import to_identities, to_ranks, visible
from model.ops.sinkhorn import hard_permutation, sinkhorn
from model.ops.spatial_transformer import compose_motions, identity, inverse, translation, warp


@dataclass(frozen=True)
class Decomposition(Memories, Motion, Ordering, Masks, ABC):
    """Settings of all that a time step is made of."""

    @property
    def looks(self) -> bool:
        """Whether some part asks what slots look like."""
        return self.recognition or self.evidence == "looks"


class Annealed(NamedTuple):
    """The values that depend on the training step, as tensors, that a compiled step takes any; whether to draw."""

    alpha: Float[Tensor, ""]
    temperature: Float[Tensor, ""]
    draw: bool


class Inputs(NamedTuple):
    """What a step is given of its frame; with a time axis after the batch, of many."""

    seen: Float[Tensor, "b *t c2 h w"]  # the frame, and its difference to the one before where that is used
    encoded: Encoded
    noise: Float[Tensor, "b *t k k"]  # of Gumbel-Sinkhorn


@dataclass(frozen=True)
class Cell:
    """The parts of a step, and what stays the same over a clip."""

    config: Decomposition
    masks: MaskNet
    order: OrderNet | Trust | Undecided
    motion: MotionNet
    background: BackgroundNet
    anneal: Annealed
    lstm_weights: ConvLSTMWeights | None

    def __call__(self, state: State, inputs: Inputs) -> tuple[State, tuple[Slots, Moved]]:
        """The next state, the frame's slots, and the slots as they are expected in the next frame."""
        seen, encoded, noise = inputs
        frame = seen[:, : self.config.channels]
        started = state.started[:, None, None, None] > 0
        if self.config.matching:
            state = found_again(state, frame, self.config.matching)
        # Eq. 1.
        there = state.supports.detach()
        known, beside = None, None
        if self.config.looks:
            beside = compared(state.looks, frame, state.colours, there * started, state.background)
            known = recognised(beside, nearness(state.nearness, beside.error, there), there)
        lstm, masks = self.masks.step(state.lstm, encoded, there, known, self.lstm_weights)
        supports = binarise(masks, self.anneal.alpha, self.config.beta)  # eq. 2, 3

        in_front = state.nearness
        if isinstance(self.order, Trust):
            assert beside is not None
            in_front = nearness(in_front, beside.error, supports.detach())
            logits = self.order(in_front)
        else:
            # The first frame is expected as its masks lie. Algorithm 1, line 4, applies gamma to them unsorted, which
            # would favour slots by number. Detached: an expectation is evidence, not something to change for the
            # order's sake.
            expected = torch.where(started, state.expected, supports).detach()
            logits = self.order(supports, expected, frame)
        if self.anneal.draw:
            order = sinkhorn(logits + noise, self.anneal.temperature, self.config.sinkhorn_iterations)
        else:
            order = hard_permutation(logits)
        shown = to_identities(order, visible(to_ranks(order, supports)))  # eq. 4, 5

        looks = seen_again(state.looks, frame, shown, state.supports) if self.config.looks else state.looks

        colours = update_colours(frame, seen_by_slots(shown, self.config.memory), state.colours)  # eq. 10
        background = self.background(frame, shown, state.background)  # eq. 11

        before = torch.where(started, state.masks, masks)  # m_0 := m_1; Algorithm 1 is garbled there
        motion = self.motion(seen, masks, before, state.motion)  # eq. 7
        moved = warp(torch.cat([colours, supports[:, :, None]], 2), inverse(motion))  # eq. 12, 13
        moved_colours, moved_supports = moved.split([frame.shape[1], 1], 2)
        moved_supports = moved_supports[:, :, 0]
        weights = to_identities(order, visible(to_ranks(order, moved_supports)))  # eq. 13

        started_now = torch.ones_like(state.started)
        state = State(
            lstm,
            masks,
            motion,
            moved_colours,
            moved_supports,
            weights,
            background,
            looks,
            in_front,
            started_now,
        )
        slots = Slots(masks, supports, shown, order, motion, colours, background)
        return state, (slots, Moved(moved_colours, weights))


def found_again(state: State, frame: Float[Tensor, "b c h w"], reach: int) -> State:
    """The state with all that is expected of each slot moved on to where the frame shows it (see matching.py)."""
    shift = normalised(matched_shift(state.colours.detach(), state.expected, frame, reach), frame)
    moved = warp(
        torch.cat([state.colours, state.supports[:, :, None], state.expected[:, :, None]], 2),
        translation(-shift),
    )
    colours, supports, expected = moved.split([frame.shape[1], 1, 1], 2)
    motion = compose_motions(translation(shift), state.motion)
    return state._replace(
        motion=motion, colours=colours, supports=supports[:, :, 0], expected=expected[:, :, 0]
    )


def normalised(pixels: Float[Tensor, "b k 2"], frame: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k 2"]:
    """Shifts in units of half the frame."""
    height, width = frame.shape[-2:]
    return pixels * (2 / pixels.new_tensor([width, height]))


def state_before(
    config: Decomposition, masks: MaskNet, start: Start, frames: Float[Tensor, "b t c h w"]
) -> State:
    """The state before the first of `frames`."""
    batch, _, channels, height, width = frames.shape
    slots, stride = config.slots, config.stem_stride
    empty = frames.new_zeros(batch, slots, height, width)
    return State(
        lstm=masks.lstm.zero_state(frames.new_zeros(batch, 1, 1, height // stride, width // stride)),
        masks=empty,
        motion=identity(batch, slots, like=frames),
        colours=frames.new_zeros(batch, slots, channels, height, width),
        supports=start.supports,
        expected=empty,
        background=start.background,
        looks=start.looks,
        nearness=frames.new_zeros(batch, slots, slots),
        started=frames.new_zeros(batch),
    )
