"""Fully connected layers, initialised as Sonnet's: what the released code of SQAIR is made of."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(sizes: Sequence[int], bias: float = 0.0, *, last: bool = False) -> nn.Sequential:
    """Linear layers with ELU between them, and after the last where asked; `bias`: of the last layer at first."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [linear(before, after), nn.ELU()]
    final = layers[-2]
    assert isinstance(final, nn.Linear)
    nn.init.constant_(final.bias, bias)
    return nn.Sequential(*(layers if last else layers[:-1]))


def linear(before: int, after: int, *, bias: bool = True) -> nn.Linear:
    """Weights from a normal of variance 1 / before, cut at two deviations; no bias at first."""
    layer = nn.Linear(before, after, bias=bias)
    truncated(layer, before)
    return layer


def truncated(layer: nn.Linear | nn.Conv2d, inputs: int) -> None:
    """Weights and bias at first; `inputs`: of one output."""
    nn.init.trunc_normal_(layer.weight, std=inputs**-0.5, a=-2 * inputs**-0.5, b=2 * inputs**-0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
