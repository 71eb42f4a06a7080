"""Clip: one sample on CPU, uint8 frames and optional ground truth. Everything a source makes and a reader returns.

What an array of a clip is, is a row of FIELDS: storing, checking, padding, moving to the device and cutting read it.
The dataclasses have the same names for readers and type checks.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numpy.typing import DTypeLike, NDArray

UNLABELLED = 255
Array = NDArray[np.generic]


@dataclass(frozen=True)
class Field:
    """How an array of a clip is stored.

    Args:
        number: type of its numbers.
        axes: names, or sizes that never change: t time, n objects, h and w pixels, c channels.
        full: the number that stands for 1, where the numbers are levels from 0 on.
        unknown: the number that stands for "not known".
    """

    number: DTypeLike
    axes: str
    full: int | None = None
    unknown: int | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""
        return np.dtype(self.number)

    def axis(self, name: str) -> int | None:
        """The place of an axis in the array of one clip; None where there is none of the name."""
        names = self.axes.split()
        return names.index(name) if name in names else None

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Of one clip, given the size of each axis."""
        return tuple(sizes[name] if name in sizes else int(name) for name in self.axes.split())

    def bytes(self, sizes: Mapping[str, int]) -> int:
        """Of one clip, at most, in memory."""
        return math.prod(self.shape(sizes)) * self.dtype.itemsize

    def fits(self, shape: tuple[int, ...], sizes: Mapping[str, int]) -> bool:
        """Whether an array of a clip may have this shape; its objects may be fewer than `sizes` says."""
        wanted, objects = self.shape(sizes), self.axis("n")
        return len(shape) == len(wanted) and all(
            a == b or (place == objects and a < b)
            for place, (a, b) in enumerate(zip(shape, wanted, strict=True))
        )


# In the order in which they are stored.
FIELDS: dict[str, Field] = {
    "frames": Field(np.uint8, "t h w c", full=255),
    "visible_ids": Field(np.uint8, "t h w"),
    "amodal_masks": Field(np.uint8, "t n h w", full=255),
    "depth_ranks": Field(np.int32, "n"),
    "centres": Field(np.float32, "t n 2"),
    "velocities": Field(np.float32, "t n 2"),
    "colours": Field(np.float32, "n c"),
    "labels": Field(np.uint8, "t h w", unknown=UNLABELLED),
    "boxes": Field(np.float32, "t n 4"),
    "exists": Field(np.int32, "t n"),
    "visibility": Field(np.float32, "t n"),
    "categories": Field(np.int32, "n"),
    "collisions": Field(np.uint8, "t h w"),
}
# Of a Batch, which says of every object whether a clip has it.
BATCH_FIELDS = FIELDS | {"present": Field(np.int32, "n")}


@dataclass(frozen=True)
class Clip:
    """One clip. `c` is 1 (grey) or 3 (RGB). Arrays of truth are None where the source has no such label.

    Positions are (x, y) in pixels, pixel centres at integer + 0.5. Objects are numbered 1..n in `visible_ids`
    and 0..n-1 along the axis `n` of the other fields.
    """

    key: str  # unique in its data set; letters, digits, '-' and '_' only
    frames: UInt8[np.ndarray, "t h w c"]
    visible_ids: UInt8[np.ndarray, "t h w"] | None = None  # 0 = background
    amodal_masks: UInt8[np.ndarray, "t n h w"] | None = None  # coverage, 255 = full
    depth_ranks: Int32[np.ndarray, "n"] | None = None  # 0 = nearest
    centres: Float32[np.ndarray, "t n 2"] | None = None
    velocities: Float32[np.ndarray, "t n 2"] | None = None  # pixels per frame, t -> t + 1
    colours: Float32[np.ndarray, "n c"] | None = None  # in [0, 1]
    labels: UInt8[np.ndarray, "t h w"] | None = None  # class of each pixel, 255 = void or not labelled
    boxes: Float32[np.ndarray, "t n 4"] | None = None  # x0 y0 x1 y1 in pixels, whole objects
    exists: Int32[np.ndarray, "t n"] | None = None  # 1 where the object is there, seen or not
    visibility: Float32[np.ndarray, "t n"] | None = None  # share of the object that is inside the frame
    categories: Int32[np.ndarray, "n"] | None = None  # what the object is, such as a digit
    collisions: UInt8[np.ndarray, "t h w"] | None = (
        None  # 1 where an object is seen that hits another, t -> t + 1
    )
    facts: dict[str, object] = field(default_factory=dict)  # JSON: shapes, source file, first frame, fps, ...


def num_objects(clip: Clip) -> int:
    """Along the axis `n` of its fields; 0 where it has none of them."""
    found = ((getattr(clip, name), kind.axis("n")) for name, kind in FIELDS.items())
    return max(
        (array.shape[axis] for array, axis in found if array is not None and axis is not None), default=0
    )


@dataclass(frozen=True)
class Batch:
    """`b` clips stacked; objects padded to the largest n of the data set (`present` tells which exist)."""

    keys: list[str]
    frames: UInt8[np.ndarray, "b t h w c"]
    visible_ids: UInt8[np.ndarray, "b t h w"] | None = None
    amodal_masks: UInt8[np.ndarray, "b t n h w"] | None = None
    depth_ranks: Int32[np.ndarray, "b n"] | None = None
    centres: Float32[np.ndarray, "b t n 2"] | None = None
    velocities: Float32[np.ndarray, "b t n 2"] | None = None
    colours: Float32[np.ndarray, "b n c"] | None = None
    present: Int32[np.ndarray, "b n"] | None = None
    labels: UInt8[np.ndarray, "b t h w"] | None = None
    boxes: Float32[np.ndarray, "b t n 4"] | None = None
    exists: Int32[np.ndarray, "b t n"] | None = None
    visibility: Float32[np.ndarray, "b t n"] | None = None
    categories: Int32[np.ndarray, "b n"] | None = None
    collisions: UInt8[np.ndarray, "b t h w"] | None = None
