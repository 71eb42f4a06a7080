"""Densities against torch's own, counts and gradients against enumeration of everything that can be drawn."""

import itertools
import math
from typing import Any

import pytest
import torch
import torch.distributions as D
from torch import Tensor
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli

from model.probability.distributions import (
    bernoulli_kl,
    bernoulli_log_prob,
    concrete_log_density,
    correlated_kl,
    correlated_log_density,
    count_log_probs,
    normal_kl,
    normal_log_density,
)
from model.probability.estimators import elbo, iwae, leave_one_out, vimco


def some(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_normals_are_torchs() -> None:
    x, m, n = some(50), some(50), some(50)
    s, t = some(50).exp(), some(50).exp()
    torch.testing.assert_close(normal_log_density(x, m, s), D.Normal(m, s).log_prob(x))
    torch.testing.assert_close(normal_kl(m, s, n, t), D.kl_divergence(D.Normal(m, s), D.Normal(n, t)))


def test_correlated_normals_are_torchs() -> None:
    x, m, n, t = some(20, 4), some(20, 4), some(20, 4), some(20, 4).exp()
    factor = torch.tril(some(20, 4, 4), -1) + torch.diag_embed(some(20, 4).exp())
    q, p = D.MultivariateNormal(m, scale_tril=factor), D.MultivariateNormal(n, scale_tril=torch.diag_embed(t))
    torch.testing.assert_close(correlated_log_density(x, m, factor), q.log_prob(x))
    torch.testing.assert_close(correlated_kl(m, factor, n, t), D.kl_divergence(q, p))


def test_presence_is_torchs() -> None:
    a, b, value = 3 * some(50), 3 * some(50), (some(50) > 0).double()
    torch.testing.assert_close(bernoulli_log_prob(value, a), D.Bernoulli(logits=a).log_prob(value))
    expected = D.kl_divergence(D.Bernoulli(logits=a), D.Bernoulli(logits=b))
    torch.testing.assert_close(bernoulli_kl(a, b), expected)
    far = torch.tensor([-88.0, 88.0])
    assert bernoulli_kl(far, -far).isfinite().all()
    y = some(50)
    relaxed: Any = LogitRelaxedBernoulli(torch.tensor(0.7, dtype=torch.float64), logits=a)
    torch.testing.assert_close(concrete_log_density(y, a, 0.7), relaxed.log_prob(y))


def test_counts_sum_to_one_and_are_those_of_drawing() -> None:
    logits = 2 * some(5, 3)
    found = count_log_probs(logits).exp()
    torch.testing.assert_close(found.sum(-1), torch.ones(5, dtype=torch.float64))
    expected = torch.zeros(5, 4, dtype=torch.float64)
    for draws in itertools.product((0, 1), repeat=3):
        count = next((i for i, draw in enumerate(draws) if not draw), 3)
        ways = D.Bernoulli(logits=logits).log_prob(torch.tensor(draws, dtype=torch.float64)).sum(-1).exp()
        expected[:, count] += ways
    torch.testing.assert_close(found, expected)
    assert count_log_probs(torch.tensor([88.0, -88.0, 88.0])).isfinite().all()


def test_bounds_are_ordered_and_one_particle_gives_the_elbo() -> None:
    weights = 5 * some(20, 6)
    assert (iwae(weights) >= elbo(weights)).all()
    torch.testing.assert_close(iwae(weights[:, :1]), elbo(weights[:, :1]))
    torch.testing.assert_close(vimco(weights[:, :1], some(20, 1)), elbo(weights[:, :1]))
    replaced = weights[:, [0, 0, 2, 3, 4, 5]].clone()
    replaced[:, 1] = weights[:, [0, 2, 3, 4, 5]].mean(1)
    replaced[:, 0] = weights[:, 0]
    torch.testing.assert_close(leave_one_out(weights)[:, 1], iwae(replaced))


class Tiny:
    """p(x, z) of two presences as a table, q as two logits: everything can be enumerated."""

    def __init__(self) -> None:
        self.joint = some(4)
        self.logits = some(2).requires_grad_()

    def state(self, number: Tensor) -> tuple[Tensor, Tensor]:
        """log w and log q of states 0 to 3."""
        bits = torch.stack([number // 2, number % 2], -1).double()
        log_q = bernoulli_log_prob(bits, self.logits).sum(-1)
        return self.joint[number] - log_q, log_q

    def expected_gradient(self, particles: int, form: str | None) -> Tensor:
        """Mean over all draws: of the estimator's gradient, or (None) the gradient of the mean bound."""
        total = torch.zeros(2, dtype=torch.float64)
        value = torch.zeros((), dtype=torch.float64)
        for draw in itertools.product(range(4), repeat=particles):
            weights, log_q = self.state(torch.tensor(draw))
            chance = log_q.sum().exp()
            if form is None:
                value = value + chance * iwae(weights)
            else:
                (gradient,) = torch.autograd.grad(vimco(weights, log_q, form), self.logits)
                total += chance.detach() * gradient
        return total if form else torch.autograd.grad(value, self.logits)[0]


@pytest.mark.parametrize("particles", [1, 2, 3])
def test_textbook_vimco_is_unbiased_for_the_bound(particles: int) -> None:
    tiny = Tiny()
    exact = tiny.expected_gradient(particles, None)
    torch.testing.assert_close(tiny.expected_gradient(particles, "vimco"), exact)
    for i in range(2):
        ends = []
        for change in (-1e-5, 1e-5):
            moved = Tiny()
            moved.joint, moved.logits = tiny.joint, tiny.logits.detach().clone()
            moved.logits[i] += change
            ends.append(
                sum(
                    float(log_q.sum().exp() * iwae(weights))
                    for draw in itertools.product(range(4), repeat=particles)
                    for weights, log_q in [moved.state(torch.tensor(draw))]
                )
            )
        assert (ends[1] - ends[0]) / 2e-5 == pytest.approx(float(exact[i]), abs=1e-6)


def test_the_released_forms_term_is_the_elbos() -> None:
    """Its score-function term alone; with the bound's own gradient it is unbiased for neither."""
    tiny = Tiny()
    total = torch.zeros(2, dtype=torch.float64)
    for draw in itertools.product(range(4), repeat=3):
        weights, log_q = tiny.state(torch.tensor(draw))
        estimate = vimco(weights.detach(), log_q, "vimco-released")
        (gradient,) = torch.autograd.grad(estimate, tiny.logits)
        total += log_q.sum().exp().detach() * gradient
    torch.testing.assert_close(total, tiny.expected_gradient(1, None))
    assert not torch.allclose(tiny.expected_gradient(3, "vimco-released"), tiny.expected_gradient(3, None))


def test_the_value_is_the_bounds() -> None:
    weights, log_q = some(7, 5), some(7, 5)
    for form in ("vimco", "vimco-released"):
        assert torch.equal(vimco(weights, log_q, form), iwae(weights))
    with pytest.raises(ValueError, match="form: got 'nvil', allowed are vimco, vimco-released"):
        vimco(weights, log_q, "nvil")
    assert math.isfinite(float(iwae(torch.tensor([-1e4, -2e4]))))
