"""What a VRNN sees frames with, and draws them with: fully connected, or convolutional."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.layers.dense import mlp
from model.layers.lstm_gates import lstm_gates

STRIDES = (1, 2, 1, 2, 1, 2)


class DenseEncoder(nn.Module):
    """Two layers over the pixels."""

    def __init__(self, channels: int, size: int, hidden: int) -> None:
        super().__init__()
        self.layers = mlp((channels * size**2, hidden, hidden), last=True)

    def forward(self, frames: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Features of each frame."""
        features: Tensor = self.layers(frames.flatten(1))
        return features


class DenseDecoder(nn.Module):
    """Three layers to the pixels; the last is linear."""

    def __init__(self, inputs: int, channels: int, size: int, hidden: int) -> None:
        super().__init__()
        self.shape = (channels, size, size)
        self.layers = mlp((inputs, hidden, hidden, channels * size**2))

    def forward(self, features: Float[Tensor, "n i"]) -> Float[Tensor, "n c h w"]:
        """Means of the pixels, of any value."""
        pixels: Tensor = self.layers(features).unflatten(1, self.shape)
        return pixels


class ConvEncoder(nn.Module):
    """Six 3x3 convolutions with strides 1, 2, 1, 2, 1, 2, and a layer over what is left of the frame."""

    def __init__(self, channels: int, size: int, hidden: int, maps: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for (before, after), stride in zip(pairwise(_maps(channels, maps)), STRIDES, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride, padding=1), nn.ELU()]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.last = mlp((2 * maps * sides(size)[-1] ** 2, hidden), last=True)

    def forward(self, frames: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Features of each frame."""
        features: Tensor = self.last(self.layers(frames))
        return features


class ConvDecoder(nn.Module):
    """The encoder backwards: two layers, and transposed convolutions through the same sizes; the last is linear."""

    def __init__(self, inputs: int, channels: int, size: int, hidden: int, maps: int) -> None:
        super().__init__()
        steps = sides(size)
        self.shape = (2 * maps, steps[-1], steps[-1])
        self.first = mlp((inputs, hidden, 2 * maps * steps[-1] ** 2), last=True)
        layers: list[nn.Module] = []
        wide = list(reversed(_maps(channels, maps)))
        for i, stride in enumerate(reversed(STRIDES)):
            small, large = steps[len(STRIDES) - i], steps[len(STRIDES) - i - 1]
            # A stride of 2 leaves open which of two sizes came before.
            more = large - (stride * (small - 1) + 1)
            layers += [
                nn.ConvTranspose2d(wide[i], wide[i + 1], 3, stride, padding=1, output_padding=more),
                nn.ELU(),
            ]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Float[Tensor, "n i"]) -> Float[Tensor, "n c h w"]:
        """Means of the pixels, of any value."""
        pixels: Tensor = self.layers(self.first(features).unflatten(1, self.shape))
        return pixels


class LSTM(nn.Module):
    """One step of an LSTM with a single set of biases."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gates = nn.Linear(inputs + hidden, 4 * hidden)
        with torch.no_grad():
            self.gates.bias.zero_()[hidden : 2 * hidden] = 1.0  # of forgetting

    def forward(
        self, x: Float[Tensor, "n i"], hidden: Float[Tensor, "n d"], cell: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """The next hidden state and cell."""
        gates = self.gates(torch.cat([x, hidden], 1))
        hidden, cell = lstm_gates(gates[..., None, None], cell[..., None, None])  # maps of one pixel
        return hidden.flatten(1), cell.flatten(1)


def sides(size: int) -> list[int]:
    """Sides of the maps: of the frame, then after each convolution."""
    found = [size]
    for stride in STRIDES:
        found.append(-(-found[-1] // stride))
    return found


def _maps(channels: int, maps: int) -> Sequence[int]:
    return (channels, maps, maps, maps, 2 * maps, 2 * maps, 2 * maps)
