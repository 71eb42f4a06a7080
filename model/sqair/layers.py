"""Layers of AIR and SQAIR, with the parameters that the released code has: two kinds of recurrence, and heads."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.probability.distributions import (
    correlated_kl,
    correlated_log_density,
    normal_kl,
    normal_log_density,
)

LEAST_DEVIATION = 0.01


class Normal(NamedTuple):
    """A normal with independent elements, or, with `factor`, with covariance factor factor^T."""

    mean: Float[Tensor, "*b d"]
    deviation: Float[Tensor, "*b d"]
    factor: Float[Tensor, "*b d d"] | None = None

    def sample(self, noise: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """The draw that standard normal `noise` stands for."""
        if self.factor is None:
            return self.mean + self.deviation * noise
        return self.mean + (self.factor * noise[..., None, :]).sum(-1)

    def divergence(self, prior: "Normal", sample: Float[Tensor, "*b d"] | None) -> Float[Tensor, "*b"]:
        """Log q - log p of the sample, or, without one, the KL; of a prior with independent elements."""
        if sample is None:
            if self.factor is None:
                return normal_kl(self.mean, self.deviation, prior.mean, prior.deviation).sum(-1)
            return correlated_kl(self.mean, self.factor, prior.mean, prior.deviation)
        log_p = normal_log_density(sample, prior.mean, prior.deviation).sum(-1)
        if self.factor is None:
            return normal_log_density(sample, self.mean, self.deviation).sum(-1) - log_p
        return correlated_log_density(sample, self.mean, self.factor) - log_p


def deviation(raw: Tensor) -> Tensor:
    """A positive number from any, in float32."""
    return F.softplus(raw.float()) + LEAST_DEVIATION


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
    nn.init.trunc_normal_(layer.weight, std=before**-0.5, a=-2 * before**-0.5, b=2 * before**-0.5)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class TanhCell(nn.Module):
    """h' = tanh(W x + b + U h + c), with a learned start."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.input, self.recurrent = linear(inputs, hidden), linear(hidden, hidden)
        self.start = nn.Parameter(torch.zeros(hidden))

    def forward(
        self, x: Float[Tensor, "b i"], hidden: Float[Tensor, "b d"] | None = None
    ) -> Float[Tensor, "b d"]:
        """The next state; from the start where none is given."""
        # A copy: a mere view of a weight claims to need a gradient without a graph too, and stops who counts FLOPs.
        before = self.start.expand(len(x), -1).clone() if hidden is None else hidden
        return torch.tanh(self.input(x) + self.recurrent(before)).float()


class GatedCell(nn.Module):
    """The GRU of Cho et al. (2014): the reset gate acts on the state before its matrix, unlike torch's."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.input = linear(inputs, 3 * hidden)
        self.gates, self.candidate = (
            linear(hidden, 2 * hidden, bias=False),
            linear(hidden, hidden, bias=False),
        )

    def forward(self, x: Float[Tensor, "b i"], hidden: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The next state, of which the update gate is the share that is new."""
        update, reset, new = self.input(x).chunk(3, -1)
        to_update, to_reset = self.gates(hidden).chunk(2, -1)
        update = torch.sigmoid(update + to_update)
        candidate = torch.tanh(new + self.candidate(torch.sigmoid(reset + to_reset) * hidden))
        return ((1 - update) * hidden + update * candidate).float()


class Start(nn.Module):
    """A learned state, called for rows that begin."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(hidden))

    def forward(self, rows: int, slots: int) -> Float[Tensor, "b k d"]:
        """The same for every slot of every row."""
        return self.value.expand(rows, slots, -1).clone()  # as in TanhCell
