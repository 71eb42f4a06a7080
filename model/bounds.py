"""What the fields of a config and the clips of a model may be: refusals that name what was got and what is allowed."""

from collections.abc import Collection
from typing import Any

from jaxtyping import Float
from torch import Tensor


def require_at_least(config: Any, least: float, *names: str) -> None:
    """ValueError where one of the fields `names` is below `least`."""
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{name}: got {getattr(config, name)}, needs at least {least}")


def require_one_of(config: Any, name: str, allowed: Collection[str]) -> None:
    """ValueError where the field `name` is none of `allowed`."""
    if getattr(config, name) not in allowed:
        raise ValueError(f"{name}: got {getattr(config, name)!r}, allowed are {', '.join(allowed)}")


def require_odd(config: Any, name: str) -> None:
    """ValueError where the field `name`, the side of a convolution in pixels, is not an odd number."""
    side = getattr(config, name)
    if side < 1 or side % 2 == 0:
        raise ValueError(f"{name}: got {side}, needs an odd number, so that maps keep their size")


class Unfit(ValueError):
    """What a model cannot take of clips, which are the user's choice: their shape, or their labels."""


def fitting(
    frames: Float[Tensor, "b t c h w"], channels: int, size: int, least: int
) -> Float[Tensor, "b t c h w"]:
    """The frames in float32.

    Raises:
        Unfit: they do not have that many channels or are not `size` wide and high, or there are fewer than `least`.
    """
    expected = (channels, size, size)
    if frames.shape[1] < least or frames.shape[2:] != expected:
        got, need = "x".join(map(str, frames.shape[1:])), "x".join(map(str, expected))
        raise Unfit(
            f"frames are {got}, the model takes {least} or more of {need} (t x c x h x w): set its size and"
            " channels to those of the data"
        )
    return frames.float()
