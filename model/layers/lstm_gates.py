"""The elementwise part of an LSTM step; on larger maps one operation, its backward pass written out."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

MINUS_ONE = torch.tensor(-1.0)
LARGE = 2**16  # elements of gates from which one operation is faster than many: measured on one core


def lstm_gates(
    gates: Float[Tensor, "b g h w"], cell: Float[Tensor, "b d h w"]
) -> tuple[Float[Tensor, "b d h w"], Float[Tensor, "b d h w"]]:
    """The next hidden map and cell: c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c').

    Args:
        gates: before their nonlinearities; g = 4 d, in the order i, f, o, g. May be overwritten: nobody else may
            need it.
        cell: c. Everything is computed in its precision.
    """
    if gates.numel() >= LARGE:
        hidden, after = LSTMGates.apply(gates, cell)  # type: ignore[no-untyped-call]
        return hidden, after
    d = cell.shape[1]
    openings, candidate = gates.to(cell.dtype).split([3 * d, d], 1)
    i, f, o = torch.sigmoid(openings).chunk(3, 1)
    after = f * cell + i * torch.tanh(candidate)
    return o * torch.tanh(after), after


class LSTMGates(torch.autograd.Function):
    """`lstm_gates` as one operation, which keeps six maps a step: the gates, c, tanh(c'). Differentiable once."""

    @staticmethod
    def forward(
        ctx: Any, gates: Float[Tensor, "b g h w"], cell: Float[Tensor, "b d h w"]
    ) -> tuple[Float[Tensor, "b d h w"], Float[Tensor, "b d h w"]]:
        """As `lstm_gates`; `gates` is overwritten where it has the precision of `cell`."""
        ctx.precision = gates.dtype
        gates = gates.detach().to(cell.dtype)
        i, f, o, candidate = gates.chunk(4, 1)
        if _by_sigmoid(gates):
            candidate.mul_(2)
            gates.sigmoid_()
            _tanh_of_half(candidate)
        else:
            gates[:, : -cell.shape[1]].sigmoid_()
            candidate.tanh_()
        after = (f * cell).addcmul_(i, candidate)
        squashed = _tanh_of_half((after * 2).sigmoid_()) if _by_sigmoid(after) else after.tanh()
        ctx.save_for_backward(gates, cell, squashed)
        return o * squashed, after

    @staticmethod
    def backward(
        ctx: Any, to_hidden: Float[Tensor, "b d h w"], to_cell: Float[Tensor, "b d h w"]
    ) -> tuple[Float[Tensor, "b g h w"], Float[Tensor, "b d h w"]]:
        """Gradients of gates and cell from those of the next hidden map and cell.

        Raises:
            RuntimeError: a graph of the gradient is wanted (torch's `once_differentiable` lets some cases pass).
        """
        if torch.is_grad_enabled():
            raise RuntimeError("LSTMGates: has no second derivative; call backward without create_graph")
        gates, cell, squashed = ctx.saved_tensors
        d = cell.shape[1]
        i, f, o, candidate = gates.chunk(4, 1)
        gradient = torch.empty_like(gates)
        to_i, to_f, to_o, to_candidate = gradient.chunk(4, 1)
        torch.mul(to_hidden, squashed, out=to_o)
        to_after = _through_tanh(to_hidden * o, squashed).add_(to_cell)
        torch.mul(to_after, candidate, out=to_i)
        torch.mul(to_after, cell, out=to_f)
        torch.mul(to_after, i, out=to_candidate)
        _through_sigmoid(gradient[:, : 3 * d], gates[:, : 3 * d])
        _through_tanh(to_candidate, candidate)
        return gradient.to(ctx.precision), to_after.mul_(f)


def _by_sigmoid(x: Tensor) -> bool:
    """Whether tanh(x) is better had as 2 sigmoid(2 x) - 1, to an absolute error of one ulp of 1."""
    # On CPUs torch's sigmoid is four times as fast as its tanh. In half precision an ulp of 1 would be too much.
    return x.device.type == "cpu" and x.dtype.itemsize >= 4


def _tanh_of_half(s: Tensor) -> Tensor:
    """In place: s = sigmoid(x) -> tanh(x / 2)."""
    return torch.add(MINUS_ONE, s, alpha=2, out=s)


def _through_sigmoid(gradient: Tensor, y: Tensor) -> Tensor:
    """In place: gradient of y = sigmoid(x) -> gradient of x."""
    torch.ops.aten.sigmoid_backward.grad_input(gradient, y, grad_input=gradient)
    return gradient


def _through_tanh(gradient: Tensor, y: Tensor) -> Tensor:
    """In place: gradient of y = tanh(x) -> gradient of x."""
    torch.ops.aten.tanh_backward.grad_input(gradient, y, grad_input=gradient)
    return gradient
