"""Soft and hard permutations: Gumbel-Sinkhorn (Mena et al. 2018) in the log domain."""

from functools import lru_cache
from itertools import permutations

import torch
from jaxtyping import Float
from torch import Tensor

MOST_ENUMERATED = 6  # 720 permutations; above this the search is greedy


def gumbel_noise(shape: tuple[int, ...], like: Tensor) -> Float[Tensor, "..."]:
    """Standard Gumbel draws in float32, -log(-log u), finite for every u that the generator can give."""
    uniform = torch.rand(shape, device=like.device).clamp(1e-20, 1 - 6e-8)
    return -torch.log(-torch.log(uniform))


def sinkhorn(
    logits: Float[Tensor, "*b k k"], temperature: float | Float[Tensor, ""], iterations: int
) -> Float[Tensor, "*b k k"]:
    """Doubly stochastic matrices near exp(logits / temperature); noise is added to `logits` by the caller.

    Rows and columns are normalised in turn, in float32 and in the log domain. The last step normalises the
    columns, so columns sum to 1 exactly and rows approximately. With column = depth rank that is the order
    that matters: the visible masks then sum to the same in either index, and the background does not depend on
    the sorting.

    Raises:
        ValueError: temperature is a number and not positive.
    """
    if not isinstance(temperature, Tensor) and temperature <= 0:
        raise ValueError(f"sinkhorn: temperature got {temperature}, needs to be positive")
    scores = logits.float() / temperature
    for _ in range(iterations):
        scores = scores.log_softmax(-1).log_softmax(-2)
    return scores.exp()


def hard_permutation(scores: Float[Tensor, "*b k k"]) -> Float[Tensor, "*b k k"]:
    """The permutation matrices with the greatest sum of selected scores; no gradient.

    Exact by enumeration up to k = 6; beyond that greedy: the best entry first, then the best of what is left.
    """
    scores = scores.detach().float()
    size = scores.shape[-1]
    if size > MOST_ENUMERATED:
        return _greedy(scores)
    candidates = all_permutations(size).to(scores.device)
    totals = (scores[..., None, :, :] * candidates).sum((-1, -2))
    return candidates[totals.argmax(-1)]


def _greedy(scores: Float[Tensor, "*b k k"]) -> Float[Tensor, "*b k k"]:
    size = scores.shape[-1]
    open_scores, result = scores.clone(), torch.zeros_like(scores)
    for _ in range(size):
        best = open_scores.flatten(-2).argmax(-1, keepdim=True)
        chosen = torch.zeros_like(open_scores.flatten(-2)).scatter(-1, best, 1.0).view_as(scores)
        result = result + chosen
        taken = chosen.sum(-1, keepdim=True) + chosen.sum(-2, keepdim=True) > 0
        open_scores = open_scores.masked_fill(taken, -torch.inf)
    return result


@lru_cache(maxsize=MOST_ENUMERATED)
def all_permutations(size: int) -> Float[Tensor, "n k k"]:
    """Every permutation matrix of that size, size! of them."""
    return torch.eye(size)[torch.tensor(list(permutations(range(size))))]
