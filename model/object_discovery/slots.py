"""What a frame is decomposed into."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Slots(NamedTuple):
    """One frame, decomposed; with a time axis after the batch, many. Identity order throughout, float32."""

    masks: Float[Tensor, "b *t k h w"]  # m, raw, occluded parts included
    supports: Float[Tensor, "b *t k h w"]  # S(m), nearly binary
    visible: Float[Tensor, "b *t k h w"]  # P Gamma
    order: Float[Tensor, "b *t k k"]  # P, row = slot, column = rank, rank 0 nearest
    motion: Float[Tensor, "b *t k 3 3"]  # z, forward to the next frame
    colours: Float[Tensor, "b *t k c h w"]  # x-tilde
    background: Float[Tensor, "b *t c h w"]
