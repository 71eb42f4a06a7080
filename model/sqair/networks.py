"""What frames and glimpses are read with, and glimpses drawn with: fully connected, or convolutional.

Both encoders of the convolutional networks have one trunk, and a layer each. The paper gives no sizes; these are those
of its model of pedestrians (maps 16, 32, 64, 64), and its decoder (5 x 5 x 32, then maps 32, 64, 64 of sub-pixels).
"""

import math

from jaxtyping import Float
from torch import Tensor, nn

from model.layers.dense import mlp, truncated
from model.sqair.config import Scene

TRUNK = ((16, 2), (32, 2), (64, 2), (64, 1))  # maps and stride of each convolution
SPREAD = ((32, 1), (64, 2), (64, 2))  # maps, and by how much each enlarges


def trunk(config: Scene) -> nn.Module:
    """Pixels of pictures of any size to `features` numbers each."""
    if not config.convolutional:
        return nn.Flatten()
    layers: list[nn.Module] = []
    before = config.channels
    for maps, stride in TRUNK:
        layers += [convolution(before, maps, stride), nn.ELU()]
        before = maps
    return nn.Sequential(*layers, nn.Flatten())


def encoder(config: Scene, side: int) -> nn.Module:
    """What follows the trunk, of pictures of that side: `hidden` numbers."""
    if not config.convolutional:
        return mlp((config.channels * side**2, config.hidden, config.hidden), last=True)
    for _, stride in TRUNK:
        side = -(-side // stride)
    return mlp((TRUNK[-1][0] * side**2, config.hidden), last=True)


def decoder(config: Scene, bias: float) -> nn.Module:
    """`what` to the pixels of a glimpse, before they are scaled; `bias`: of the last layer at first."""
    if config.convolutional:
        return SubPixels(config.what, config.hidden, config.glimpse, config.channels, bias)
    return mlp((config.what, config.hidden, config.hidden, config.channels * config.glimpse**2), bias)


class SubPixels(nn.Module):
    """Two layers to a small map, which convolutions enlarge: channels of a pixel become a square of pixels."""

    def __init__(self, inputs: int, hidden: int, side: int, channels: int, bias: float) -> None:
        super().__init__()
        before = SPREAD[0][0]
        small = side // math.prod(factor for _, factor in SPREAD)
        self.shape = (before, small, small)
        self.first = mlp((inputs, hidden, before * small**2), last=True)
        layers: list[nn.Module] = []
        for maps, factor in SPREAD:
            layers += [convolution(before, maps * factor**2), nn.ELU(), nn.PixelShuffle(factor)]
            before = maps
        last = convolution(before, channels)
        assert last.bias is not None
        nn.init.constant_(last.bias, bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, what: Float[Tensor, "n d"]) -> Float[Tensor, "n p"]:
        """Pixels, channel by channel and row by row."""
        pixels: Tensor = self.layers(self.first(what).unflatten(1, self.shape))
        return pixels.flatten(1)


def convolution(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    """5x5, and as large as its input where the stride is 1."""
    layer = nn.Conv2d(before, after, 5, stride, padding=2)
    truncated(layer, 25 * before)
    return layer
