"""The gates of an LSTM: the one operation against autograd through the equations."""

import pytest
import torch
from torch import Tensor

from model.layers.lstm_gates import LARGE, LSTMGates, lstm_gates


def equations(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    i, f, o, g = gates.double().chunk(4, 1)
    after = torch.sigmoid(f) * cell.double() + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(after), after


def test_gradients_are_those_of_finite_differences() -> None:
    gates = torch.randn(2, 8, 2, 3, dtype=torch.float64, requires_grad=True)
    cell = torch.randn(2, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    # A copy, for the operation overwrites its gates.
    assert torch.autograd.gradcheck(lambda g, c: LSTMGates.apply(g.clone(), c), (gates, cell))


@pytest.mark.parametrize("side", [4, 64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_agrees_with_the_equations(side: int, scale: float) -> None:
    gates = (scale * torch.randn(2, 8, side, side)).requires_grad_()
    cell = (scale * torch.randn(2, 2, side, side)).requires_grad_()
    assert (gates.numel() >= LARGE) == (side == 64)
    towards = [torch.randn(2, 2, side, side) for _ in range(2)]
    expected = equations(gates, cell)
    gradients = torch.autograd.grad(expected, (gates, cell), [v.double() for v in towards])
    given = lstm_gates(gates.clone(), cell)
    torch.testing.assert_close([v.double() for v in given], list(expected), atol=1e-6, rtol=1e-6)
    # Where gates saturate the gradient is a difference of numbers near 1, times the cell.
    tolerance = 1e-6 * max(1.0, scale)
    torch.testing.assert_close(
        torch.autograd.grad(given, (gates, cell), towards), gradients, atol=10 * tolerance, rtol=1e-5
    )


@pytest.mark.parametrize("used", [0, 1])
def test_one_result_may_go_unused(used: int) -> None:
    gates = torch.randn(2, 8, 2, 3, requires_grad=True)
    cell = torch.randn(2, 2, 2, 3, requires_grad=True)
    given = torch.autograd.grad(LSTMGates.apply(gates.clone(), cell)[used].sum(), (gates, cell))
    expected = torch.autograd.grad(equations(gates, cell)[used].sum(), (gates, cell))
    torch.testing.assert_close(given, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("side", [4, 64])
def test_computes_in_the_precision_of_the_cell(side: int) -> None:
    gates = torch.randn(2, 8, side, side).bfloat16().requires_grad_()
    cell = torch.randn(2, 2, side, side, requires_grad=True)
    before = gates.detach().clone()
    hidden, after = lstm_gates(gates, cell)
    assert hidden.dtype == after.dtype == torch.float32
    torch.testing.assert_close(
        [hidden.double(), after.double()], list(equations(gates, cell)), atol=1e-6, rtol=0
    )
    (hidden.sum() + after.sum()).backward()
    assert gates.grad is not None
    assert gates.grad.dtype == torch.bfloat16
    assert torch.equal(gates, before)


def test_a_second_derivative_is_refused() -> None:
    gates = torch.randn(2, 8, 2, 3, requires_grad=True)
    hidden, _ = LSTMGates.apply(gates.clone(), torch.randn(2, 2, 2, 3))
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(hidden.sum(), gates, create_graph=True)
