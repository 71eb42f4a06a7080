"""Layers of a frame, for all frames of a clip."""

from jaxtyping import Float
from torch import Tensor, nn


def over_time(layers: nn.Module, x: Float[Tensor, "b t *x"]) -> Float[Tensor, "b t *y"]:
    """The same layers for every frame, in one call."""
    out: Tensor = layers(x.flatten(0, 1))
    return out.reshape(*x.shape[:2], *out.shape[1:])
