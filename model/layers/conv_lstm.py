"""The convolutional LSTM (Shi et al. 2015, eq. 3, without peepholes), its input convolution hoisted over time."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ConvLSTMState(NamedTuple):
    """Hidden map in (-1, 1) and memory cell."""

    hidden: Float[Tensor, "b d h w"]
    cell: Float[Tensor, "b d h w"]


class ConvLSTM(nn.Module):
    """One recurrent layer on maps.

        i, f, o = sigmoid(W_x * x + W_h * h + b);  g = tanh(W_x * x + W_h * h + b)
        c' = f c + i g;  h' = o tanh(c')

    `inputs` convolves a stretch of time at once; `step` does what needs the state. Padding keeps the size.

    Args:
        in_channels: channels of the input, at least 1.
        hidden: channels d of the state, at least 1.
        kernel: side of both convolutions in pixels, odd.
        forget_bias: where the bias of the forget gate starts; the other biases start at 0.
        spread: weights start uniform in [-spread, spread]; None = torch's rule for convolutions.

    Raises:
        ValueError: a field out of its range.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        kernel: int,
        forget_bias: float = 1.0,
        spread: float | None = None,
    ) -> None:
        super().__init__()
        if in_channels < 1 or hidden < 1:
            raise ValueError(f"ConvLSTM: in_channels, hidden got {in_channels}, {hidden}, need at least 1")
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(
                f"ConvLSTM: kernel got {kernel}, needs an odd number, so that maps keep their size"
            )
        self.hidden = hidden
        # One bias set: a second one on the hidden convolution would only add to it.
        self.input_conv = nn.Conv2d(in_channels, 4 * hidden, kernel, padding=kernel // 2)
        self.hidden_conv = nn.Conv2d(hidden, 4 * hidden, kernel, padding=kernel // 2, bias=False)
        assert self.input_conv.bias is not None
        with torch.no_grad():
            self.input_conv.bias.zero_()[hidden : 2 * hidden] = forget_bias
            if spread is not None:
                self.input_conv.weight.uniform_(-spread, spread)
                self.hidden_conv.weight.uniform_(-spread, spread)

    def zero_state(self, x: Float[Tensor, "b t c h w"]) -> ConvLSTMState:
        """The state before the first frame, for inputs like `x`."""
        zeros = x.new_zeros(x.shape[0], self.hidden, *x.shape[3:])
        return ConvLSTMState(zeros, zeros)

    def inputs(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t g h w"]:
        """W_x * x + b over time; g = 4 d, in the order input gate, forget gate, output gate, candidate."""
        projected: Tensor = self.input_conv(x.flatten(0, 1))
        return projected.reshape(*x.shape[:2], *projected.shape[1:])

    def step(self, state: ConvLSTMState, projected: Float[Tensor, "b g h w"]) -> ConvLSTMState:
        """The next state from `inputs` of one frame."""
        gates = projected + self.hidden_conv(state.hidden)
        # One sigmoid over three gates: fewer, larger operations.
        i, f, o = torch.sigmoid(gates[:, : 3 * self.hidden]).chunk(3, 1)
        cell = f * state.cell + i * torch.tanh(gates[:, 3 * self.hidden :])
        return ConvLSTMState(o * torch.tanh(cell), cell)
