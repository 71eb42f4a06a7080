"""Convolutional blocks: the residual block, and the strided stack that reads a whole image into a vector."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + conv3x3(relu(conv3x3(relu(x)))), size and channels kept (He et al. 2016, without normalisation).

    Batch statistics would tie the frames of an unrolled recurrence together.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h w"]:
        """One block."""
        out: Tensor = x + self.second(F.relu(self.first(F.relu(x))))
        return out


class StridedReader(nn.Module):
    """Strided 3x3 convolutions down to `grid` x `grid`, flattened: the spatial layout stays in the vector.

    Global pooling would destroy what these vectors are for: sub-pixel shifts and who lies on whom.

    Args:
        channels: of the input, then of each convolution; each halves the size.
        size: side of the input in pixels.

    Raises:
        ValueError: the size cannot be halved that often.
    """

    def __init__(self, channels: Sequence[int], size: int) -> None:
        super().__init__()
        halvings = len(channels) - 1
        if size % 2**halvings:
            raise ValueError(
                f"size: got {size}, needs a multiple of {2**halvings} to be halved {halvings} times"
            )
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.features = channels[-1] * (size // 2**halvings) ** 2

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Vectors of `features` numbers."""
        # Channels last: with few channels these convolutions are faster so, on a CPU.
        out: Tensor = self.layers(x.contiguous(memory_format=torch.channels_last))
        return out
