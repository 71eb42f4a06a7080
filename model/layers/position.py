"""Where a feature is: sinusoidal position encoding of maps."""

import torch
from jaxtyping import Float
from torch import Tensor


def sinusoidal_positions(
    channels: int, height: int, width: int, like: Tensor, base: float = 10_000.0
) -> Float[Tensor, "{channels} {height} {width}"]:
    """Sines and cosines of the column in the first half of the channels, of the row in the second half.

    Channel 2i of a half is sin(p f_i), channel 2i + 1 is cos(p f_i), with integer positions p from 0 and angular
    frequencies f_i = base^(-4i / channels), i = 0 .. channels / 4 - 1. A base near the size of the map uses the
    slow frequencies better than the customary 10 000.

    Raises:
        ValueError: channels is not a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"position encoding: channels got {channels}, needs a multiple of 4")
    pairs = channels // 4
    frequencies = base ** (-torch.arange(pairs, device=like.device) / pairs)

    def encode(length: int) -> Tensor:
        angles = frequencies[:, None] * torch.arange(length, device=like.device)
        return torch.stack([angles.sin(), angles.cos()], 1).flatten(0, 1)

    columns = encode(width)[:, None, :].expand(-1, height, -1)
    rows = encode(height)[:, :, None].expand(-1, -1, width)
    return torch.cat([columns, rows])
