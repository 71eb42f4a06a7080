"""The convolutional LSTM (Shi et al. 2015, eq. 3, without peepholes), its convolutions as suits their size."""

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.layers.lstm_gates import lstm_gates

HOISTED = 16  # from how many times as many weights as gates of one step the input is convolved ahead


class ConvLSTMState(NamedTuple):
    """Hidden map in (-1, 1) and memory cell."""

    hidden: Float[Tensor, "b d h w"]
    cell: Float[Tensor, "b d h w"]


class ConvLSTMWeights(NamedTuple):
    """Weights of input and hidden map side by side, and the bias."""

    joined: Float[Tensor, "g c k k"]
    bias: Float[Tensor, " g"]


class ConvLSTM(nn.Module):
    """One recurrent layer on maps.

        i, f, o = sigmoid(W_x * x + W_h * h + b);  g = tanh(W_x * x + W_h * h + b)
        c' = f c + i g;  h' = o tanh(c')

    `inputs` does what needs no state for a stretch of time at once, `step` the rest, with `weights` that are made once
    for all steps. How the convolutions are made is a matter of size and speed alone, measured on a CPU (`trainer bench
    step conv-lstm`):

    - Where weights by far outweigh the gates of one step (maps of few pixels) `inputs` convolves its input: weights
      are then read once for all of T. On larger maps that loses: gates of all of T leave the caches, and come as fresh
      pages.
    - Elsewhere `step` makes one convolution of input and hidden map side by side, which is faster than two.
    - From 2^30 multiplications a step, and without `weights`, it makes two: as fast then, and none to make and to keep.

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
        self.size = self.input_conv.weight.numel() + self.hidden_conv.weight.numel()
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

    def weights(self, state: ConvLSTMState) -> ConvLSTMWeights | None:
        """What makes `step` fast for states like this one: take them outside the scan, once for all of its steps.

        None where the step goes without. They are part of the graph: for one backward pass.
        """
        pixels = _pixels(state.hidden)
        if self._hoists(pixels) or self.size * pixels >= 2**30:
            return None
        weight, bias = self.input_conv(None)
        joined, device = self.hidden_conv(weight, join=True), state.hidden.device.type
        if torch.is_autocast_enabled(device):
            # It remembers its casts of parameters only, and would cast every step.
            half = torch.get_autocast_dtype(device)
            joined, bias = joined.to(half), bias.to(half)
        return ConvLSTMWeights(joined, bias)

    def inputs(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t _ h w"]:
        """What `step` takes, over time: W_x * x + b where that is hoisted, with 4 d channels, else `x` itself."""
        if not self._hoists(_pixels(x[:, 0])):
            return x
        projected: Tensor = self.input_conv(x.flatten(0, 1))
        return projected.reshape(*x.shape[:2], *projected.shape[1:])

    def step(
        self, state: ConvLSTMState, x: Float[Tensor, "b _ h w"], weights: ConvLSTMWeights | None = None
    ) -> ConvLSTMState:
        """The next state from `inputs` of one frame; i, f, o, g are side by side in this order."""
        if weights is not None:
            # Precision of the input: under autocast joining would else promote, only to be cast again.
            joined = torch.cat([x, state.hidden.to(x.dtype)], 1)
            gates = F.conv2d(joined, weights.joined, weights.bias, padding=self.hidden_conv.padding)
        elif self._hoists(_pixels(x)):
            gates = x + self.hidden_conv(state.hidden)
        else:
            gates = self.input_conv(x) + self.hidden_conv(state.hidden)
        return ConvLSTMState(*lstm_gates(gates, state.cell))

    def _hoists(self, pixels: int) -> bool:
        return self.size > HOISTED * 4 * self.hidden * pixels


def _pixels(x: Float[Tensor, "b _ h w"]) -> int:
    return x.shape[0] * x.shape[2] * x.shape[3]


class _InputConv(nn.Conv2d):
    """Called without an input it lends its weights. As copies: ZeRO-3 takes them back when the call ends."""

    def forward(self, x: Tensor | None) -> Any:
        if x is not None:
            return super().forward(x)
        return self.weight.clone(), cast(Tensor, self.bias).clone()


class _HiddenConv(nn.Conv2d):
    """Called to join, it puts its weights beside those it is given."""

    def forward(self, x: Tensor, join: bool = False) -> Tensor:
        return torch.cat([x, self.weight], 1) if join else super().forward(x)
