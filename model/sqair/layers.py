"""Recurrences of AIR and SQAIR, with the parameters that the released code has."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.layers.dense import linear


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
