"""The Huber penalty against a loop over eq. 2, and the injected gradient against the term in the loss."""

import pytest
import torch
from torch import Tensor

from model.video_autoencoder.smoothness import inject_smoothness, smoothness


def by_loop(flow: Tensor, delta: float) -> float:
    """Pixel by pixel in Python floats; flow (components, h, w)."""
    total, (components, height, width) = 0.0, flow.shape
    for n in range(components):
        at = flow[n].tolist()
        for y in range(height):
            for x in range(width):
                dx = (at[y][min(x + 1, width - 1)] - at[y][max(x - 1, 0)]) / 2
                dy = (at[min(y + 1, height - 1)][x] - at[max(y - 1, 0)][x]) / 2
                a = (dx**2 + dy**2) ** 0.5
                total += a**2 / 2 if a <= delta else delta * (a - delta / 2)
    return total / flow.numel()


@pytest.mark.parametrize("delta", [1e-3, 0.5, 100.0])  # all beyond, mixed, all within
def test_value_is_that_of_the_equation(delta: float) -> None:
    flow = torch.randn(2, 5, 7, dtype=torch.float64)
    assert smoothness(flow, delta).item() == pytest.approx(by_loop(flow, delta), rel=1e-12)


@pytest.mark.parametrize("delta", [1e-3, 0.5, 100.0])
def test_gradient_is_that_of_differences(delta: float) -> None:
    flow = torch.randn(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: smoothness(f, delta), flow)


@pytest.mark.parametrize("flow", [torch.zeros(1, 2, 4, 5), torch.full((1, 2, 4, 5), 3.0)])
def test_flat_flow_costs_nothing_and_has_no_gradient(flow: Tensor) -> None:
    flow = flow.clone().requires_grad_()
    value = smoothness(flow, 1e-3)
    value.backward()
    assert value == 0
    assert flow.grad is not None
    assert torch.equal(flow.grad, torch.zeros_like(flow))  # and not NaN, as the root at 0 would give


def test_injection_keeps_the_flow_and_gives_the_gradients_of_the_term() -> None:
    weight, delta = 0.7, 0.3
    layer = torch.nn.Conv2d(3, 2, 3, padding=1).double()
    x, target = torch.randn(4, 3, 6, 5, dtype=torch.float64), torch.randn(4, 2, 6, 5, dtype=torch.float64)

    def gradients(injected: bool) -> list[Tensor]:
        layer.zero_grad()
        flow = layer(x)
        if injected:
            assert torch.equal(inject_smoothness(flow, delta, weight), flow)
            loss = (inject_smoothness(flow, delta, weight) - target).square().mean()
        else:
            loss = (flow - target).square().mean() + weight * smoothness(flow, delta)
        loss.backward()
        return [p.grad.clone() for p in layer.parameters() if p.grad is not None]

    term, injection = gradients(False), gradients(True)
    for ours, theirs in zip(injection, term, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    layer.zero_grad()
    (layer(x) - target).square().mean().backward()
    assert not torch.allclose(layer.weight.grad, term[0], rtol=1e-2)  # the penalty is no trifle here
