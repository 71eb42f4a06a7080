"""What a frame is decomposed into, and what is carried from one frame to the next."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from model.layers.conv_lstm import ConvLSTMState
from model.object_discovery.looks import Looks


class Slots(NamedTuple):
    """One frame, decomposed; with a time axis after the batch, many. Identity order throughout, float32."""

    masks: Float[Tensor, "b *t k h w"]  # m, raw, occluded parts included
    supports: Float[Tensor, "b *t k h w"]  # S(m), nearly binary
    visible: Float[Tensor, "b *t k h w"]  # P Gamma
    order: Float[Tensor, "b *t k k"]  # P, row = slot, column = rank, rank 0 nearest
    motion: Float[Tensor, "b *t k 3 3"]  # z, forward to the next frame
    colours: Float[Tensor, "b *t k c h w"]  # x-tilde
    background: Float[Tensor, "b *t c h w"]


class Moved(NamedTuple):
    """The same slots where they are expected in the next frame."""

    colours: Float[Tensor, "b *t k c h w"]  # x-hat
    weights: Float[Tensor, "b *t k h w"]  # P Gamma-hat


class State(NamedTuple):
    """What frame t + 1 is told about frames 1..t. Identity order throughout."""

    lstm: ConvLSTMState
    masks: Float[Tensor, "b k h w"]  # m_t
    motion: Float[Tensor, "b k 3 3"]  # z_t, from t to t + 1
    colours: Float[Tensor, "b k c h w"]  # x-hat_{t+1}: memories moved to t + 1
    supports: Float[Tensor, "b k h w"]  # S(m) moved to t + 1; before the first frame, the slots' places
    expected: Float[Tensor, "b k h w"]  # Gamma-hat_{t+1}, back in identity order
    background: Float[Tensor, "b c h w"]
    looks: Looks
    nearness: Float[Tensor, "b k k"]  # evidence so far that a slot (row) is in front of another (column)
    started: Float[Tensor, "b"]  # 0 before the first frame, else 1
