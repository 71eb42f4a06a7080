"""Building blocks of the four networks."""

from torch import nn


def xavier(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """The layer, weights uniform after Glorot & Bengio (2010), biases zero (section 4; memories start otherwise)."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv(before: int, after: int, kernel: int, bias: float = 0.0) -> nn.Module:
    """A convolution that keeps the size of maps, its bias starting at `bias`."""
    layer = xavier(nn.Conv2d(before, after, kernel, padding=kernel // 2))
    assert layer.bias is not None
    nn.init.constant_(layer.bias, bias)
    return layer


def conv_tanh_pool(before: int, after: int, kernel: int) -> list[nn.Module]:
    """A stage of the spatial encoder (section 3.1): half the size."""
    return [conv(before, after, kernel), nn.Tanh(), nn.MaxPool2d(2)]


def up_conv(before: int, after: int, kernel: int, bias: float = 0.0) -> list[nn.Module]:
    """A stage of the spatial decoder, without non-linearity (section 3.1): twice the size."""
    return [nn.Upsample(scale_factor=2, mode="nearest"), conv(before, after, kernel, bias)]
