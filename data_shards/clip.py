"""Clip: one sample on CPU, uint8 frames and optional ground truth. Everything a source makes and a reader returns."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from numpy.typing import NDArray


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
    facts: dict[str, object] = field(default_factory=dict)  # JSON: shapes, source file, first frame, fps, ...


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


UNLABELLED = 255
Array = NDArray[np.generic]
