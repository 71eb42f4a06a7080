"""The gradient inside a cell: right, detached, and not a reason to recompute."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model.remat import Remat
from model.unroll import inner_gradient, unroll
from trainer.bench.live_bytes import LiveBytes


class Refining(nn.Module):
    """Iterative inference in small: the cell sees the gradient of an energy at its own state."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
        self.update = nn.Linear(8, 4)
        self.calls = 0

    def run(
        self, remat: str, gradient: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
    ) -> list[Tensor]:
        self.zero_grad()
        self.calls = 0

        def cell(state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            self.calls += 1
            slope = gradient(lambda at: self.energy(at + x).sum(), state)
            state = state + torch.tanh(self.update(torch.cat([state, slope], -1)))
            return state, self.energy(state + x)

        torch.manual_seed(3)
        x = torch.randn(2, 12, 4)
        _, energies = unroll(cell, torch.zeros(2, 4), x, remat=Remat.parse(remat))
        energies.mean().backward()
        return [p.grad.clone() for p in self.parameters() if p.grad is not None]


def plainly(objective: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        return torch.autograd.grad(objective(at), at)[0]


@pytest.mark.parametrize("length", [1, 3, 6, 12])
def test_inner_gradient_does_not_recompute_the_block(length: int) -> None:
    model = Refining()
    expected = model.run("none", plainly)
    assert model.calls == 12
    gradients = model.run(f"every:{length}", inner_gradient)
    assert model.calls == 12 + 12 - length
    torch.testing.assert_close(gradients, expected, atol=1e-7, rtol=0)


def test_inner_gradient_of_a_tree_is_detached_and_leaves_parameters_alone() -> None:
    weight = torch.tensor(3.0, requires_grad=True)
    at: dict[str, Any] = {"a": torch.tensor([1.0, 2.0], requires_grad=True), "b": (torch.tensor(4.0),)}
    with torch.no_grad():  # also where evaluation switched gradients off
        slope = inner_gradient(lambda v: weight * (v["a"].square().sum() + v["b"][0] ** 3), at)
    torch.testing.assert_close(slope, {"a": torch.tensor([6.0, 12.0]), "b": (torch.tensor(144.0),)})
    assert weight.grad is None
    assert at["a"].grad is None
    assert not slope["a"].requires_grad


def test_inner_gradient_leaves_nothing_behind() -> None:
    """Also not what the objective's side branches saved."""
    at, side = torch.rand(50), torch.rand(50, requires_grad=True)
    live = LiveBytes()
    with live:
        inner_gradient(lambda v: (v * 2).sum() + torch.tanh(torch.exp(side)).sum(), at)
    assert live.now == 0
