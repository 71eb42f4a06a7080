"""Log-densities and divergences, element by element; callers sum over the axes of a variable.

Presence is given by its logit. The number of objects that a sequence of presences amounts to, each allowed only after
the one before, is `count_log_probs`.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)


def normal_log_density(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Log N(x; mean, deviation^2); arguments broadcast."""
    return -0.5 * ((x - mean) / deviation).square() - deviation.log() - LOG_ROOT_TWO_PI


def normal_kl(mean: Tensor, deviation: Tensor, prior_mean: Tensor, prior_deviation: Tensor) -> Tensor:
    """KL(N(mean, deviation^2) || N(prior_mean, prior_deviation^2)); arguments broadcast."""
    ratio = (deviation / prior_deviation).square()
    distance = ((mean - prior_mean) / prior_deviation).square()
    divergence: Tensor = 0.5 * (ratio + distance - 1 - ratio.log())
    return divergence


def correlated_log_density(
    x: Float[Tensor, "*b d"], mean: Float[Tensor, "*b d"], factor: Float[Tensor, "*b d d"]
) -> Float[Tensor, "*b"]:
    """Log N(x; mean, factor factor^T); `factor` is lower triangular with a positive diagonal."""
    z = torch.linalg.solve_triangular(factor, (x - mean)[..., None], upper=False)[..., 0]
    logs = factor.diagonal(dim1=-2, dim2=-1).log()
    density: Tensor = (-0.5 * z.square() - logs - LOG_ROOT_TWO_PI).sum(-1)
    return density


def correlated_kl(
    mean: Float[Tensor, "*b d"],
    factor: Float[Tensor, "*b d d"],
    prior_mean: Float[Tensor, "*b d"],
    prior_deviation: Float[Tensor, "*b d"],
) -> Float[Tensor, "*b"]:
    """KL of N(mean, factor factor^T) from a normal with independent elements."""
    variance = factor.square().sum(-1) / prior_deviation.square()
    distance = ((mean - prior_mean) / prior_deviation).square()
    logs = prior_deviation.log() - factor.diagonal(dim1=-2, dim2=-1).log()
    return (logs + 0.5 * (variance + distance - 1)).sum(-1)


def bernoulli_log_prob(value: Tensor, logit: Tensor) -> Tensor:
    """Log P(value) of 0 or 1; arguments broadcast."""
    return torch.where(value > 0, F.logsigmoid(logit), F.logsigmoid(-logit))


def bernoulli_kl(logit: Tensor, prior_logit: Tensor) -> Tensor:
    """KL(Bernoulli(sigmoid(logit)) || Bernoulli(sigmoid(prior_logit))); arguments broadcast."""
    one = torch.sigmoid(logit) * (F.logsigmoid(logit) - F.logsigmoid(prior_logit))
    return one + torch.sigmoid(-logit) * (F.logsigmoid(-logit) - F.logsigmoid(-prior_logit))


def concrete_log_density(y: Tensor, logit: Tensor, temperature: float) -> Tensor:
    """Of the logit y of a relaxed Bernoulli (Maddison et al. 2017, appendix C); arguments broadcast.

    A draw is y = (logit + log u - log(1 - u)) / temperature, presence is sigmoid(y). Densities of y rather than of
    presence: the difference of two is the same, and y does not saturate.
    """
    z = logit - temperature * y
    return z + math.log(temperature) - 2 * F.softplus(z)


def count_log_probs(logits: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n+1"]:
    """Of 0 to n objects, where object k is there with sigmoid(logits_k) if all before it are.

    q(m) = (1 - p_{m+1}) prod_{j <= m} p_j, q(n) = prod_j p_j: sums to 1 as it stands. In the log domain; the released
    code of SQAIR takes the product in float64, normalises and cuts it at 1e-16.
    """
    none = torch.zeros_like(logits[..., :1])
    there = F.logsigmoid(logits).cumsum(-1)
    return torch.cat([none, there], -1) + torch.cat([F.logsigmoid(-logits), none], -1)
