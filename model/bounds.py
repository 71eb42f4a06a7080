"""What the fields of a config may be: refusals that name the field, its value and what is allowed."""

from collections.abc import Collection
from typing import Any


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
