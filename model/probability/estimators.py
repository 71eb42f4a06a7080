"""Bounds on log p(x) over an axis of particles, and their gradients where latents are discrete.

`log_weights` are log p(x, z) - log q(z | x), with the graph of all that they depend on. An estimator is the bound plus
`surrogate - surrogate.detach()`: its value is the bound's, its gradient has the score function's term too.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

FORMS = ("vimco", "vimco-released")


def elbo(log_weights: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
    """The evidence lower bound, mean over particles."""
    return log_weights.mean(-1)


def iwae(log_weights: Float[Tensor, "*b p"]) -> Float[Tensor, "*b"]:
    """The importance-weighted bound log(1/p sum_j w_j) (Burda et al. 2016); one particle gives the ELBO."""
    return log_weights.logsumexp(-1) - math.log(log_weights.shape[-1])


def leave_one_out(log_weights: Float[Tensor, "*b p"]) -> Float[Tensor, "*b p"]:
    """For each particle, the bound with the geometric mean of the others in its place (Mnih & Rezende 2016).

    Of two particles at least.
    """
    count = log_weights.shape[-1]
    others = (log_weights.sum(-1, keepdim=True) - log_weights) / (count - 1)
    own = torch.eye(count, dtype=torch.bool, device=log_weights.device)
    replaced = torch.where(own, others[..., :, None], log_weights[..., None, :])
    return replaced.logsumexp(-1) - math.log(count)


def vimco(
    log_weights: Float[Tensor, "*b p"], log_probs: Float[Tensor, "*b p"], form: str = "vimco"
) -> Float[Tensor, "*b"]:
    """The importance-weighted bound, with the gradient of VIMCO (Mnih & Rezende 2016).

    Args:
        log_weights: of the particles.
        log_probs: of all discrete choices of each particle under q.
        form: "vimco", sum_j (L - c_j) grad log q_j, c_j as `leave_one_out`: unbiased for the bound L. Or
            "vimco-released", 1/p sum_j (log w_j - c_j) grad log q_j, as in SQAIR's code: unbiased for no bound.
            A single particle has no others, and c = 0: the score function of the ELBO.

    Raises:
        ValueError: another form.
    """
    if form not in FORMS:
        raise ValueError(f"form: got {form!r}, allowed are {', '.join(FORMS)}")
    bound, fixed = iwae(log_weights), log_weights.detach()
    count = fixed.shape[-1]
    baseline = leave_one_out(fixed) if count > 1 else torch.zeros_like(fixed)
    if form == "vimco":
        surrogate = ((iwae(fixed)[..., None] - baseline) * log_probs).sum(-1)
    else:
        surrogate = ((fixed - baseline) * log_probs).mean(-1)
    return bound + (surrogate - surrogate.detach())
