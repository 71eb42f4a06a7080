"""What is trained: the importance-weighted bound with VIMCO, or the bound with counts summed, or presences relaxed."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from model.probability.distributions import bernoulli_kl, bernoulli_log_prob, count_log_probs
from model.probability.estimators import vimco
from model.sqair.cell import Step

GOES_ON = 0.99  # absence so far, in sum, from which on no object is looked for


class Weights(NamedTuple):
    """Of each frame and particle; `log_weight` = `log_likelihood` - `kl`."""

    log_likelihood: Float[Tensor, "bp t"]
    kl: Float[Tensor, "bp t"]
    log_choices: Float[Tensor, "bp t"]  # log q of what is discrete


def weights(step: Step, likelihood: Float[Tensor, "bp t"], *, sampled: bool) -> Weights:
    """Of what was drawn. `sampled`: divergences of presences are those of the samples too, else exact."""
    known = step.before.shape[-1]
    kept = step.presence[..., :known]
    log_q = bernoulli_log_prob(kept, step.kept_logits)
    stay = log_q - bernoulli_log_prob(kept, step.expected_logits)
    if not sampled:
        stay = bernoulli_kl(step.kept_logits, step.expected_logits)
    number = step.found.sum(-1, keepdim=True).long()
    log_count = count_log_probs(step.found_logits).gather(-1, number)[..., 0]
    count = log_count - step.count_prior.gather(-1, number)[..., 0]
    there = torch.cat([step.before * kept, step.found], -1)
    kl = (there * step.divergence).sum(-1) + (step.before * stay).sum(-1) + count
    return Weights(likelihood, kl, (step.before * log_q).sum(-1) + log_count)


def bound_of_samples(w: Weights, particles: int, form: str) -> Float[Tensor, "b"]:
    """The importance-weighted bound of whole clips, with the gradient of VIMCO; particles of a clip are neighbours."""
    log_weights = (w.log_likelihood - w.kl).sum(1).view(-1, particles)
    return vimco(log_weights, w.log_choices.sum(1).view(-1, particles), form)


def count_patterns(step: Step) -> Float[Tensor, "*b n1 m"]:
    """Which objects are there with 0, 1, ... n new ones, given the known ones that are kept."""
    slots, known = step.found.shape[-1], step.before.shape[-1]
    numbers = torch.arange(slots + 1, device=step.found.device)
    new = (numbers[:, None] > numbers[:slots]).to(step.presence.dtype)
    kept = step.presence[..., None, :known].expand(*step.presence.shape[:-1], slots + 1, known)
    return torch.cat([kept, new.expand(*kept.shape[:-1], slots)], -1)


def with_and_without(step: Step) -> Float[Tensor, "*b k2 m"]:
    """Which objects are there with each known one, then without each, given all others as drawn."""
    known = step.before.shape[-1]
    own = torch.eye(known, step.presence.shape[-1], device=step.presence.device)
    base = step.presence[..., None, :]
    return torch.cat([torch.maximum(base, own), base * (1 - own)], -2)


def exact_bound(
    step: Step, counted: Float[Tensor, "bp t n1"], toggled: Float[Tensor, "bp t k2"]
) -> Float[Tensor, "bp t"]:
    """The evidence lower bound of each frame, the mean over the number of new objects taken exactly.

    f_n = log p(x | n new) - sum_{k <= n} KL_k + log p(n), bound = sum_n q(n) (f_n - log q(n)), less the divergences of
    what is kept. The presence of a known object learns from its local gain, log p(x | with it) - log p(x | without it)
    - KL: the expectation over it in this frame; what it changes in later frames is left out.

    Args:
        step: divergences exact.
        counted: log-likelihoods of `count_patterns`.
        toggled: of `with_and_without`, without a graph.
    """
    known = step.before.shape[-1]
    log_q = count_log_probs(step.found_logits)
    costs = step.divergence[..., known:].cumsum(-1)
    costs = torch.cat([torch.zeros_like(costs[..., :1]), costs], -1)
    new = (log_q.exp() * (counted - costs + step.count_prior - log_q)).sum(-1)
    kept, own = step.presence[..., :known], step.divergence[..., :known]
    stay = bernoulli_kl(step.kept_logits, step.expected_logits)
    bound: Tensor = new - (step.before * (kept * own + stay)).sum(-1)
    gain = toggled[..., :known] - toggled[..., known:] - own.detach()
    surrogate = (step.before * torch.sigmoid(step.kept_logits) * gain).sum(-1)
    return bound + (surrogate - surrogate.detach())


def relaxed_presence(step: Step, temperature: float) -> Float[Tensor, "bp t m"]:
    """Presences between 0 and 1 (Maddison et al. 2017, Jang et al. 2017), known objects first.

    They round to what was drawn, for they are made of the same chances; so what is carried on is 0 or 1.
    """
    logits = torch.cat([step.kept_logits, step.found_logits], -1)
    there = torch.cat([step.before, _asked(step, temperature)], -1)
    return there * _relaxed(logits, step.chance, temperature)


def relaxed_bound(step: Step, likelihood: Float[Tensor, "bp t"], temperature: float) -> Float[Tensor, "bp t"]:
    """The bound of each frame with presences relaxed; near temperature 0, on average the evidence lower bound.

    Divergences of presences are those of the Bernoullis, of new objects one after the other; others count as far as
    their object is there.

    Args:
        step: divergences exact.
        likelihood: of what `relaxed_presence` shows.
        temperature: of the relaxation.
    """
    presence = relaxed_presence(step, temperature)
    stay = (step.before * bernoulli_kl(step.kept_logits, step.expected_logits)).sum(-1)
    # log p(D >= k) = log p(D >= k - 1) + log sigmoid(prior_k)
    least = step.count_prior.flip(-1).logcumsumexp(-1).flip(-1)
    prior = least[..., 1:] - step.count_prior[..., :-1]
    new = (_asked(step, temperature) * bernoulli_kl(step.found_logits, prior)).sum(-1)
    return likelihood - (presence * step.divergence).sum(-1) - stay - new


def _asked(step: Step, temperature: float) -> Float[Tensor, "bp t n"]:
    """1 for each new object that is looked for: those before it are there, more or less (as in tf-AIR)."""
    new = step.found_logits.shape[-1]
    absent = 1 - _relaxed(step.found_logits, step.chance[..., -new:], temperature).detach()
    before = absent.cumsum(-1) - absent
    return (before < GOES_ON).to(absent.dtype)


def _relaxed(logits: Tensor, chance: Tensor, temperature: float) -> Tensor:
    """Above a half where `chance` is below the probability that the logit says."""
    return torch.sigmoid((logits - torch.logit(chance, eps=1e-6)) / temperature)
