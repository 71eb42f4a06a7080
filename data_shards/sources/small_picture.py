"""Decoded frames as small upright pictures: where a source calls libswscale, and nowhere else."""

from typing import Any, Literal

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from jaxtyping import UInt8

Fit = Literal["crop", "stretch"]
# Without these, libswscale halves the columns of colour of what it writes and of RGB that it reads: columns of red
# and blue come out purple.
FULL_COLOUR = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND


def small_picture(
    frame: VideoFrame,
    aspect: float,
    converter: VideoReformatter,
    shape: tuple[int, int],
    fit: Fit,
    grey: bool,
) -> UInt8[np.ndarray, "h w c"]:
    """The frame reduced to `shape`, upright, its pixels square.

    Args:
        frame: as decoded, of any pixel format.
        aspect: width of one of its pixels / its height, as shown.
        converter: of all frames of a file: a new one for each takes ten times as long.
        shape: height and width of the picture.
        fit: "crop" takes the largest centre part of that shape, "stretch" squeezes the whole frame.
        grey: one channel instead of RGB.
    """
    mirrored, turns = _pose(frame)
    if frame.format.has_palette or any(part.is_alpha for part in frame.format.components):
        frame = _over_black(frame, converter)
    height, width = shape[::-1] if turns % 2 else shape
    w, h = width, height
    if fit == "crop":
        wide = frame.width * aspect
        scale = max(width / wide, height / frame.height)
        w, h = max(w, round(wide * scale)), max(h, round(frame.height * scale))
    # "area" averages every source pixel once; enlarging, it would repeat them.
    way = Interpolation.AREA if w <= frame.width and h <= frame.height else Interpolation.BICUBIC
    pixels = "gray" if grey else "rgb24"
    small = converter.reformat(frame, w, h, format=pixels, interpolation=way | FULL_COLOUR)
    image = small.to_ndarray().reshape(h, w, -1)
    top, left = (h - height) // 2, (w - width) // 2
    image = image[top : top + height, left : left + width]
    return np.ascontiguousarray(np.rot90(image[:, ::-1] if mirrored else image, turns))


def own_picture(frame: VideoFrame, aspect: float, converter: VideoReformatter) -> UInt8[np.ndarray, "h w 3"]:
    """The frame as a player shows it: in its own size, upright, its pixels square. Arguments as of `small_picture`."""
    height, width = frame.height, round(frame.width * aspect)
    shape = (width, height) if _pose(frame)[1] % 2 else (height, width)
    return small_picture(frame, aspect, converter, shape, "stretch", grey=False)


def _over_black(frame: VideoFrame, converter: VideoReformatter) -> VideoFrame:
    """What a player shows: under transparent pixels there may be any colour, and libswscale would take it."""
    image = converter.reformat(frame, format="rgba", interpolation=FULL_COLOUR).to_ndarray().astype(np.uint16)
    colour, alpha = image[..., :3], image[..., 3:]
    return VideoFrame.from_ndarray(((colour * alpha + 127) // 255).astype(np.uint8), format="rgb24")


def _pose(frame: VideoFrame) -> tuple[bool, int]:
    """How the stored picture becomes the upright one: left and right swapped or not, then quarter turns to the left.

    Phones store pictures sideways, and those of front cameras mirrored, and say so by a matrix beside them.
    """
    turns = round(frame.rotation / 90)
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, turns
    (a, b, _), (c, d, _), _ = np.frombuffer(data, np.int32).reshape(3, 3).astype(float)
    mirrored = bool(a * d - b * c < 0)
    # The rotation is the angle of (a, b): swapping left and right first turns it by half.
    return mirrored, turns + 2 * mirrored
