"""Normals as networks give them, and the likelihood of a picture."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from model.probability.distributions import (
    correlated_kl,
    correlated_log_density,
    normal_kl,
    normal_log_density,
)

LEAST_DEVIATION = 0.01
FIXED_SEED = 0


class Normal(NamedTuple):
    """A normal with independent elements, or, with `factor`, with covariance factor factor^T."""

    mean: Float[Tensor, "*b d"]
    deviation: Float[Tensor, "*b d"]
    factor: Float[Tensor, "*b d d"] | None = None

    def sample(self, noise: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """The draw that standard normal `noise` stands for."""
        if self.factor is None:
            return self.mean + self.deviation * noise
        return self.mean + (self.factor * noise[..., None, :]).sum(-1)

    def divergence(self, prior: "Normal", sample: Float[Tensor, "*b d"] | None) -> Float[Tensor, "*b"]:
        """Log q - log p of the sample, or, without one, the KL; of a prior with independent elements."""
        if sample is None:
            if self.factor is None:
                return normal_kl(self.mean, self.deviation, prior.mean, prior.deviation).sum(-1)
            return correlated_kl(self.mean, self.factor, prior.mean, prior.deviation)
        log_p = normal_log_density(sample, prior.mean, prior.deviation).sum(-1)
        if self.factor is None:
            return normal_log_density(sample, self.mean, self.deviation).sum(-1) - log_p
        return correlated_log_density(sample, self.mean, self.factor) - log_p


def fixed_noise(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Standard normal numbers, the same at each call: in eval mode nothing is drawn, and slots must still differ."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(FIXED_SEED)).to(like)


def deviation(raw: Tensor) -> Tensor:
    """A positive number from any, in float32."""
    return F.softplus(raw.float()) + LEAST_DEVIATION


def log_likelihood(
    frames: Float[Tensor, "*b c h w"], means: Float[Tensor, "*b m c h w"], deviation: float
) -> Float[Tensor, "*b m"]:
    """Log N(frame; mean, deviation^2), summed over pixels, for each of m means."""
    error = (frames.unsqueeze(-4) - means).square().flatten(-3).sum(-1)
    constant = means.shape[-3:].numel() * math.log(deviation * math.sqrt(2 * math.pi))
    return -error / (2 * deviation**2) - constant
