"""How likely a frame is, given what its slots draw, and the gradients of that in closed form."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

FAINT = 1e-6  # masks below count as that much where they are divided by


class Drawing(NamedTuple):
    """What slots draw."""

    means: Float[Tensor, "b k c h w"]  # in [0, 1]
    logits: Float[Tensor, "b k 1 h w"]
    log_masks: Float[Tensor, "b k 1 h w"]  # their softmax over slots

    @property
    def masks(self) -> Float[Tensor, "b k 1 h w"]:
        """Shares of the slots, which sum to 1."""
        return self.log_masks.exp()

    @property
    def mixed(self) -> Float[Tensor, "b c h w"]:
        """The frame that they make."""
        return (self.masks * self.means).sum(1)


def drawing(raw: Float[Tensor, "b k c1 h w"]) -> Drawing:
    """From what a decoder gives: means before the sigmoid, and the masks' logits last."""
    raw = raw.float()
    logits = raw[:, :, -1:]
    return Drawing(torch.sigmoid(raw[:, :, :-1]), logits, logits.log_softmax(1))


class Explained(NamedTuple):
    """How well a drawing explains a frame; natural logarithms, without the constants of normals."""

    pixels: Float[Tensor, "b 1 h w"]  # log-likelihood
    share: Float[Tensor, "b k s h w"]  # responsibility of each slot; of each colour, or of all


def explain(drawn: Drawing, frame: Float[Tensor, "b c h w"], kind: str, variance: float) -> Explained:
    """By one of the likelihoods.

        mixture:            log sum_k m_k N(x; mu_k, v)
        mixture-channels:   sum_c log sum_k m_k N(x_c; mu_kc, v)
        mean:               log N(x; sum_k m_k mu_k, v)

    With mean, responsibilities are those of the mixture.
    """
    each = -(frame[:, None] - drawn.means).square() / (2 * variance)
    if kind != "mixture-channels":
        each = each.sum(2, keepdim=True)
    joint = drawn.log_masks + each
    pixels = joint.logsumexp(1, keepdim=True)
    share = (joint - pixels).exp()
    if kind == "mean":
        error = (frame - drawn.mixed).square().sum(1, keepdim=True)
        return Explained(-error / (2 * variance), share)
    return Explained(pixels[:, 0].sum(1, keepdim=True), share)


def entropy(drawn: Drawing) -> Float[Tensor, "b h w"]:
    """Of the slots of a pixel."""
    return -(drawn.masks * drawn.log_masks).sum((1, 2))


class Slopes(NamedTuple):
    """Gradients by what slots draw."""

    means: Float[Tensor, "b k c h w"]
    masks: Float[Tensor, "b k 1 h w"]
    logits: Float[Tensor, "b k 1 h w"]  # of the masks


@torch.no_grad()
def slopes(
    drawn: Drawing,
    explained: Explained,
    frame: Float[Tensor, "b c h w"],
    kind: str,
    variance: float,
    entropy_weight: float = 0.0,
) -> Slopes:
    """Of each frame's negative log-likelihood, and of `entropy_weight` times the entropy of its masks.

    By a mask m_k as if the others stayed, -share_k / m_k and gamma (-log m_k - 1); by its logit
    m_k (g_k - sum_j m_j g_j) for gradients g by masks.
    """
    masks = drawn.masks
    if kind == "mean":
        error = ((frame - drawn.mixed) / variance)[:, None]
        by_means = -masks * error
        product = -masks * (drawn.means * error).sum(2, keepdim=True)
    else:
        by_means = -explained.share * (frame[:, None] - drawn.means) / variance
        product = -explained.share.sum(2, keepdim=True)
    if entropy_weight:
        product = product - entropy_weight * masks * (drawn.log_masks + 1)
    by_logits = product - masks * product.sum(1, keepdim=True)
    return Slopes(by_means, product / masks.clamp(min=FAINT), by_logits)
