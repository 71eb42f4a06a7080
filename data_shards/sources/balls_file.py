"""The released files of bouncing balls: balls4mass64.h5, balls678mass64.h5, balls3curtain64.h5 of R-NEM.

Groups training, validation and test, each with arrays whose first axis is time and whose second is the clip: `features`
(0 or 1), `groups` (0 background, 1..n the ball) and `collisions` (1 at pixels of balls in contact), all (51, N, 64, 64,
1). What else they hold (events, positions, velocities) is not read: nobody has written down in what units.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import fsspec
import numpy as np
from jaxtyping import UInt8

from data_shards.mistake import UserError
from data_shards.storage.place import canonical, is_elsewhere

GROUPS = {"train": "training", "val": "validation", "test": "test"}
TOGETHER = 64  # clips that are read at a time: time comes first in the file


class Balls(NamedTuple):
    """A clip of such a file."""

    lit: UInt8[np.ndarray, "t h w"]  # 0 or 1
    ids: UInt8[np.ndarray, "t h w"]  # 0 = background
    collisions: UInt8[np.ndarray, "t h w"] | None  # 0 or 1; None where the file has none


def read_balls(url: str, split: str, count: int, frames: int, size: int) -> Iterator[Balls]:
    """The first `count` clips of a split, or as many as there are, and of each the first `frames` frames.

    Raises:
        UserError: no HDF5 file, or not of this layout, length and size; says what it has.
    """
    import h5py  # loads a library: not for sets that are drawn

    where = url if is_elsewhere(url) else canonical(url)
    try:
        # Of a store only what is asked for is fetched.
        with fsspec.open(where, "rb") as file, h5py.File(file, "r") as balls:
            group = balls.get(GROUPS[split])
            if group is None:
                raise UserError(f"sequences {url}: has {', '.join(balls) or 'nothing'}, no {GROUPS[split]}")
            for name in ("features", "groups"):
                _require(group, name, frames, size, f"sequences {url}: {GROUPS[split]}")
            for first in range(0, min(count, group["features"].shape[1]), TOGETHER):
                yield from _block(group, slice(first, min(first + TOGETHER, count)), frames)
    except OSError as error:
        raise UserError(f"sequences {url}: cannot be read as HDF5 ({error})") from error


def _require(group: Any, name: str, frames: int, size: int, where: str) -> None:
    """UserError where an array is not there or not as it is needed."""
    array = group.get(name)
    shape = getattr(array, "shape", None)
    if shape is None:
        raise UserError(f"{where} has {', '.join(group) or 'nothing'}, no {name}")
    if len(shape) != 5 or shape[0] < frames or shape[2:] != (size, size, 1):
        raise UserError(
            f"{where}/{name} is {shape}, needs (at least {frames} frames, clips, {size}, {size}, 1)"
        )
    if shape[1] != group["features"].shape[1]:
        raise UserError(f"{where}: {name} of {shape[1]} clips, features of {group['features'].shape[1]}")


def _block(group: Any, which: slice, frames: int) -> Iterator[Balls]:
    """Some clips, read at once."""
    names = [name for name in ("features", "groups", "collisions") if name in group]
    arrays = {name: np.asarray(group[name][:frames, which, ..., 0]) for name in names}
    for i in range(arrays["features"].shape[1]):
        struck = arrays["collisions"][:, i] if "collisions" in arrays else None
        yield Balls(
            (arrays["features"][:, i] > 0).astype(np.uint8),
            np.rint(arrays["groups"][:, i]).astype(np.uint8),
            None if struck is None else (struck > 0).astype(np.uint8),
        )
