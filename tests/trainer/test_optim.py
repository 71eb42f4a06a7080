"""The optimisers against torch's, against TensorFlow's rule written out, and the schedule."""

import math
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn

from trainer.config import OptimConfig
from trainer.optim import SGD, RMSprop, build_optimizer, learning_rate


def descend(make: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer], steps: int = 25) -> torch.Tensor:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).double()
    x, y = torch.randn(11, 5).double(), torch.randn(11, 2).double()
    optimizer = make(net.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_rmsprop_equals_torch(momentum: float, weight_decay: float) -> None:
    ours = descend(lambda p: RMSprop(p, 1e-2, 0.9, 1e-6, momentum, weight_decay))
    theirs = descend(
        lambda p: torch.optim.RMSprop(p, 1e-2, 0.9, 1e-6, weight_decay=weight_decay, momentum=momentum)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_tensorflow_rmsprop_follows_its_rule() -> None:
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = RMSprop([weight], 0.1, alpha=0.9, eps=0.01, momentum=0.5, tensorflow=True)
    w, square, buffer = 2.0, 1.0, 0.0
    for gradient in (1.0, -3.0, 0.5):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        square = 0.9 * square + 0.1 * gradient**2
        buffer = 0.5 * buffer + 0.1 * gradient / math.sqrt(square + 0.01)
        w -= buffer
        assert weight.item() == pytest.approx(w, abs=1e-14)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_sgd_equals_torch(momentum: float, weight_decay: float) -> None:
    config = OptimConfig(name="sgd", lr=0.05, momentum=momentum, weight_decay=weight_decay)
    ours = descend(lambda p: build_optimizer(config, p))
    theirs = descend(lambda p: torch.optim.SGD(p, 0.05, momentum, weight_decay=weight_decay))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [RMSprop, SGD])
def test_state_has_the_names_that_universal_checkpoint_converts(kind: type[RMSprop] | type[SGD]) -> None:
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    optimizer = kind([weight], 0.1)
    optimizer.step()
    assert {"exp_avg", "exp_avg_sq", "step"} == set(optimizer.state[weight])


def test_elements_are_clipped_before_the_update() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([5.0, -0.25])
    build_optimizer(OptimConfig(name="adam", clip_value=0.5), [weight]).step()
    assert weight.grad.tolist() == [0.5, -0.25]


def test_learning_rate_schedules() -> None:
    warm = OptimConfig(lr=1.0, warmup_steps=4)
    assert [learning_rate(warm, s, 100) for s in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    steps = OptimConfig(lr=1.0, decay="exponential", decay_factor=0.5, decay_steps=3)
    assert [learning_rate(steps, s, 100) for s in (0, 2, 3, 6)] == [1.0, 1.0, 0.5, 0.25]
    cosine = OptimConfig(lr=2.0, decay="cosine", final_fraction=0.1)
    assert learning_rate(cosine, 0, 10) == 2.0
    assert learning_rate(cosine, 5, 10) == pytest.approx(2.0 * 0.55)
    assert learning_rate(cosine, 10, 10) == pytest.approx(0.2)
