"""Permutations: the sheet's table of Sinkhorn residuals, and hard permutations against scipy's assignment."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from model.ops.sinkhorn import gumbel_noise, hard_permutation, sinkhorn

# Mean of the matrices' greatest row-sum error, mean of the rows' largest entries (where the table has them), over
# N(0, 1) + Gumbel logits.
TABLE = [
    (2, 1.0, 20, 5.6e-4, 0.75),
    (2, 0.5, 20, 3.6e-3, 0.84),
    (2, 0.2, 20, 9.2e-3, None),
    (2, 0.2, 50, 3.1e-3, 0.93),
    (2, 0.1, 50, 4.0e-3, None),
    (3, 1.0, 20, 4.6e-4, 0.63),
    (3, 0.5, 20, 6.0e-3, 0.76),
    (3, 0.2, 20, 2.0e-2, None),
    (3, 0.2, 50, 6.4e-3, 0.89),
    (3, 0.1, 50, 9.1e-3, None),
    (4, 1.0, 20, 4.4e-4, 0.57),
    (4, 0.5, 20, 7.0e-3, 0.70),
    (4, 0.2, 20, 2.9e-2, None),
    (4, 0.2, 50, 8.5e-3, 0.85),
    (4, 0.1, 50, 1.4e-2, None),
]


@pytest.mark.parametrize(("k", "temperature", "iterations", "row_error", "largest"), TABLE)
def test_residuals_are_those_of_the_table(
    k: int, temperature: float, iterations: int, row_error: float, largest: float | None
) -> None:
    logits = torch.randn(4_000, k, k)
    p = sinkhorn(logits + gumbel_noise((4_000, k, k), logits), temperature, iterations)
    torch.testing.assert_close(p.sum(-2), torch.ones(4_000, k), atol=1e-5, rtol=0)
    assert (p.sum(-1) - 1).abs().amax(-1).mean() == pytest.approx(row_error, rel=0.25)
    assert largest is None or p.amax(-1).mean() == pytest.approx(largest, abs=0.02)


def test_gumbel_noise_has_the_moments_of_gumbel() -> None:
    noise = gumbel_noise((200_000,), torch.zeros(1))
    assert noise.mean() == pytest.approx(np.euler_gamma, abs=0.01)
    assert noise.var() == pytest.approx(np.pi**2 / 6, rel=0.02)
    assert noise.isfinite().all()


def test_temperature_counts_without_noise() -> None:
    logits = torch.randn(50, 3, 3)
    warm, cold = sinkhorn(logits, 1.0, 100), sinkhorn(logits, 0.05, 100)
    assert cold.amax(-1).mean() > warm.amax(-1).mean() + 0.2
    torch.testing.assert_close(sinkhorn(logits, 0.5, 30), sinkhorn(2 * logits, 1.0, 30))


def test_extreme_logits_stay_finite() -> None:
    p = sinkhorn(torch.tensor([[1e4, -1e4], [-1e4, 1e4]]).requires_grad_(), 0.1, 20)
    torch.testing.assert_close(p, torch.eye(2))


def test_low_precision_logits_are_worked_on_in_float32() -> None:
    assert sinkhorn(torch.randn(2, 3, 3).bfloat16(), 1.0, 5).dtype == torch.float32


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        sinkhorn(torch.zeros(2, 2), temperature, 5)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
def test_hard_permutations_are_the_best_assignment(k: int) -> None:
    scores = torch.randn(4, 5, k, k)
    hard = hard_permutation(scores)
    for mine, score in zip(hard.flatten(0, 1), scores.flatten(0, 1), strict=True):
        rows, columns = linear_sum_assignment(score.numpy(), maximize=True)
        assert torch.equal(mine.argmax(-1), torch.from_numpy(columns))
        assert len(rows) == k
    assert not hard.requires_grad


def test_many_slots_get_a_permutation_greedily() -> None:
    scores = torch.randn(50, 9, 9)
    scores[0] = torch.randn(9, 9) + 100 * torch.eye(9)[torch.randperm(9)]
    hard = hard_permutation(scores)
    assert torch.equal(hard.sum(-1), torch.ones(50, 9))
    assert torch.equal(hard.sum(-2), torch.ones(50, 9))
    assert torch.equal(hard[0].argmax(-1), scores[0].argmax(-1))
    assert torch.equal(scores.flatten(1).argmax(-1), (scores - 1e6 * (1 - hard)).flatten(1).argmax(-1))
