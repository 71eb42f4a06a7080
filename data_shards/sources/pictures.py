"""Pictures of files: decoded, upright, with eight bits a channel; and which of numbered ones belong together."""

import io
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageOps

from data_shards.mistake import UserError

ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values that exchange width and height
DEPTH = 24  # where a PNG says how many bits a channel has
JITTER = 0.2  # of the usual step between the numbers of two pictures
BROKEN = (OSError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises at broken pictures


def open_picture(data: bytes, address: str) -> Image.Image:
    """The picture, not decoded yet.

    Raises:
        UserError: it is none, has too many pixels, or numbers of 32 bits, whose white is not known; is an animation;
            or marks a colour as transparent in other than 8 or 16 bits. Names `address`.
    """
    try:
        image = Image.open(io.BytesIO(data))
    except BROKEN as error:
        raise UserError(f"{address}: cannot be opened as a picture ({error})") from error
    if image.mode in ("I", "F"):
        raise UserError(f"{address}: has 32 bits a pixel (mode {image.mode}); save it with 8 or 16 a channel")
    if image.format == "PNG":
        if getattr(image, "n_frames", 1) > 1:
            raise UserError(
                f"{address}: is an animation; make a video of it, or a picture of each of its frames"
            )
        key = image.info.get("transparency")
        if isinstance(key, int | tuple) and (
            data[DEPTH] in (2, 4) or (data[DEPTH] == 16 and image.mode == "RGB")
        ):
            raise UserError(  # Pillow would compare it with the colours as they are after decoding
                f"{address}: marks a colour as transparent in {data[DEPTH]} bits; save it with 8 a channel"
            )
    return image


def decode_picture(data: bytes, address: str) -> Image.Image:
    """The picture as a viewer shows it: turned upright, as its EXIF data say.

    Raises:
        UserError: as `open_picture`, or it is damaged.
    """
    image = open_picture(data, address)
    try:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except BROKEN as error:
        raise UserError(f"{address}: is damaged ({error})") from error
    return image


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of what `decode_picture` gives."""
    width, height = image.size
    # Without EXIF data in front, Pillow would decode a PNG to look for them behind.
    turned = "exif" in image.info and image.getexif().get(ORIENTATION) in SIDEWAYS
    return (height, width) if turned else (width, height)


def as_rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel, of 16 the nearest level; what is transparent lets black through.

    Under a transparent pixel files have any colour, often one that was erased. Over black, as players show video, only
    what the picture shows is left.
    """
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        levels = np.rint(values / 257).astype(np.uint8)
        if (key := image.info.get("transparency")) is not None:
            levels[values == key] = 0
        image = Image.fromarray(levels)
    elif image.has_transparency_data:
        shown = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", shown.size, "black"), shown)
    return image.convert("RGB")


def joined(numbers: Sequence[int]) -> tuple[bool, ...]:
    """Whether each of the pictures with these ascending `numbers` belongs to the take of the one before it.

    The usual step between two numbers is the one that most steps are within JITTER of, of equals the least: time
    stamps are not even. Steps that are further from it end the take.
    """
    steps = [after - before for before, after in pairwise(numbers)]
    ordered = sorted(steps)
    usual, most = 0, 0
    for step in dict.fromkeys(ordered):
        near = bisect_right(ordered, step * (1 + JITTER)) - bisect_left(ordered, step * (1 - JITTER))
        if near > most:
            usual, most = step, near
    return (False, *(abs(step - usual) <= JITTER * usual for step in steps))[: len(numbers)]
