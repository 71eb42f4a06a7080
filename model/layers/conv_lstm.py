"""The convolutional LSTM (Shi et al. 2015, eq. 3, without peepholes), its convolutions as suits their size."""

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.layers.lstm_gates import lstm_gates


class ConvLSTMState(NamedTuple):
    """Hidden map in (-1, 1) and memory cell."""

    hidden: Float[Tensor, "b d h w"]
    cell: Float[Tensor, "b d h w"]


class ConvLSTM(nn.Module):
    """One recurrent layer on maps.

        i, f, o = sigmoid(W_x * x + W_h * h + b);  g = tanh(W_x * x + W_h * h + b)
        c' = f c + i g;  h' = o tanh(c')

    `inputs` does what needs no state for a stretch of time at once, `step` the rest. Padding keeps the size. How the
    convolutions are made is a matter of size and speed alone, measured on a CPU (`trainer bench step conv-lstm`):

    - Where weights outweigh the gates of one step (maps of few pixels) `inputs` convolves its input: weights are then
      read once for all of T. On larger maps that loses: gates of all of T leave the caches, and come as fresh pages.
    - Elsewhere `step` makes one convolution of input and hidden map side by side, which is faster than two.
    - From 2^30 multiplications a step it makes two: as fast, without joined weights to make and to keep.

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
        self.input_conv = _InputConv(in_channels, 4 * hidden, kernel, padding=kernel // 2)
        self.hidden_conv = _HiddenConv(hidden, 4 * hidden, kernel, padding=kernel // 2, bias=False)
        # Counted here: under ZeRO-3 weights have no elements between the calls of their module.
        self.weights = self.input_conv.weight.numel() + self.hidden_conv.weight.numel()
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

    def inputs(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t _ h w"]:
        """What `step` takes, over time: W_x * x + b where that is hoisted, with 4 d channels, else `x` itself."""
        if not self._hoists(x[:, 0]):
            return x
        projected: Tensor = self.input_conv(x.flatten(0, 1))
        return projected.reshape(*x.shape[:2], *projected.shape[1:])

    def step(self, state: ConvLSTMState, x: Float[Tensor, "b _ h w"]) -> ConvLSTMState:
        """The next state from `inputs` of one frame; i, f, o, g are side by side in this order."""
        if self._hoists(x):
            gates = x + self.hidden_conv(state.hidden)
        elif self._joins(x):
            gates = self.hidden_conv(state.hidden, x, *self.input_conv(None))
        else:
            gates = self.input_conv(x) + self.hidden_conv(state.hidden)
        return ConvLSTMState(*lstm_gates(gates, state.cell))

    def _hoists(self, x: Float[Tensor, "b _ h w"]) -> bool:
        return self.weights > 4 * self.hidden * x[:, 0].numel()

    def _joins(self, x: Float[Tensor, "b _ h w"]) -> bool:
        return self.weights * x[:, 0].numel() < 2**30


class _InputConv(nn.Conv2d):
    """Called without an input it lends its weights. As copies: ZeRO-3 takes them back when the call ends."""

    def forward(self, x: Tensor | None) -> Any:
        if x is not None:
            return super().forward(x)
        return self.weight.clone(), cast(Tensor, self.bias).clone()


class _HiddenConv(nn.Conv2d):
    """The convolution of the hidden map; with the input, its weight and bias, that of both side by side."""

    def forward(
        self,
        hidden: Tensor,
        x: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        if x is None or weight is None:
            return super().forward(hidden)
        # Precision of the input: under autocast joining would else promote, only to be cast again.
        joined = torch.cat([x, hidden.to(x.dtype)], 1)
        return F.conv2d(joined, torch.cat([weight, self.weight], 1), bias, padding=self.padding)
