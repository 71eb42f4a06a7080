"""Pictures of what a model sees: tensors in, uint8 arrays and PNG or GIF bytes out.

A `Strip` is one labelled row of small pictures with a column for each frame of the clip; `sheet` puts rows on one
picture. Which rows a clip gets is said in trainer/strips. Slots have the same colour everywhere, and a true object has
the colour of the slot that stands for it.
"""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Picture = UInt8[np.ndarray, "_ _ 3"]  # any height and width: some functions change them

PALETTE = np.array(
    [[255, 107, 107], [84, 160, 255], [254, 211, 48], [38, 222, 129],
     [190, 120, 255], [255, 159, 67], [72, 219, 251], [255, 121, 198]], dtype=np.uint8,
)  # fmt: skip
UNMATCHED = np.array([150, 150, 150], dtype=np.uint8)
# From near to far.
DEPTH = np.array([[255, 240, 130], [240, 120, 80], [150, 50, 110], [70, 30, 110]], dtype=np.uint8)
HEAT = np.array([[0, 0, 0], [90, 20, 110], [230, 80, 60], [255, 230, 130], [255, 255, 255]], dtype=np.float64)
DIMMED = 0.35  # of a frame's brightness where no object is found


@dataclass(frozen=True)
class Strip:
    """A row of pictures: `pictures[i]` belongs to frame `first + i` of the clip, counted from 1."""

    label: str
    about: str
    pictures: list[Picture]
    first: int = 1
    drawn: bool = False  # lines rather than pixels: looks better smoothed than sharp
    # Where a page has it: among its details, always in view, or in view and in the film on top.
    place: Literal["detail", "view", "film"] = "detail"
    kind: str = ""  # what rows that differ in a number alone share; "" = the label

    def __post_init__(self) -> None:
        """A row that is the only one of its kind."""
        if not self.kind:
            object.__setattr__(self, "kind", self.label)


def rgb(frames: Float[Tensor, "t c h w"]) -> list[Picture]:
    """Frames in [0, 1], grey or colour, as pictures."""
    pixels = (frames.detach().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return list(np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels)


def tinted(masks: Float[Tensor, "t h w"], colour: Shaped[np.ndarray, "3"]) -> list[Picture]:
    """Weights in [0, 1] as shades of one colour."""
    weights = masks.detach().float().clamp(0, 1).cpu().numpy()[..., None]
    return list((weights * colour).round().astype(np.uint8))


def labelled(
    ids: Int[Tensor, "t h w"],
    colours: UInt8[np.ndarray, "n 3"],
    under: Float[Tensor, "t c h w"] | None = None,
) -> list[Picture]:
    """Label maps as colours: label i has colour i - 1, and colours repeat; 0 shows what lies `under`, dimmed."""
    labels = ids.cpu().numpy()
    ground = np.zeros((1, 1, 1, 3), np.uint8) if under is None else np.stack(rgb(under * DIMMED))
    return list(np.where(labels[..., None] > 0, colours[(labels - 1) % len(colours)], ground))


def heat(values: Float[Tensor, "t h w"]) -> list[Picture]:
    """Values in [0, 1] from black over red to white; the root, so that small ones show."""
    levels = values.detach().float().clamp(0, 1).sqrt().cpu().numpy() * (len(HEAT) - 1)
    low = np.minimum(levels.astype(int), len(HEAT) - 2)
    part = (levels - low)[..., None]
    return list((HEAT[low] * (1 - part) + HEAT[low + 1] * part).round().astype(np.uint8))


def depth(masks: Float[Tensor, "t k h w"], order: Float[Tensor, "t k k"]) -> list[Picture]:
    """Masks laid over each other by their order: the nearest bright yellow, the farthest dark violet.

    Args:
        masks: full supports in [0, 1], by slot.
        order: row = slot, column = rank, rank 0 nearest.
    """
    ranked = torch.einsum("tkr,tkhw->trhw", order.float(), masks.float()).clamp(0, 1).cpu().numpy()
    picture = np.zeros((*ranked.shape[:1], *ranked.shape[2:], 3))
    shades = DEPTH[np.linspace(0, len(DEPTH) - 1, ranked.shape[1]).round().astype(int)]
    for rank in reversed(range(ranked.shape[1])):
        weight = ranked[:, rank, :, :, None]
        picture = picture * (1 - weight) + shades[rank] * weight
    return list(picture.round().astype(np.uint8))


def object_colours(slots: Int[Tensor, "n"] | None) -> UInt8[np.ndarray, "n 3"]:
    """A colour for each true object: its slot's, grey where no slot stands for it."""
    if slots is None:
        return PALETTE
    return np.stack([UNMATCHED if k < 0 else PALETTE[k % len(PALETTE)] for k in slots.tolist()])


def sheet(rows: list[Strip], columns: int, size: int = 96, margin: int = 130, titles: bool = True) -> Picture:
    """Rows of pictures with their labels at the left and, with `titles`, frame numbers on top, on white.

    Pictures are made `size` pixels wide and keep their shape; those of a row are of one size.
    """
    gap, top = 3, 22 if titles else 0
    heights = [round(size * row.pictures[0].shape[0] / row.pictures[0].shape[1]) for row in rows]
    whole = (margin + columns * (size + gap), top + sum(heights) + len(rows) * gap)
    canvas = Image.new("RGB", whole, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for column in range(columns if titles else 0):
        middle = margin + column * (size + gap) + size / 2
        draw.text((middle, 4), f"t = {column + 1}", "black", font, anchor="ma")
    y = top
    for row, height in zip(rows, heights, strict=True):
        draw.text((margin - 10, y + height / 2), row.label, "black", font, anchor="rm")
        for j, picture in enumerate(row.pictures):
            x = margin + (row.first - 1 + j) * (size + gap)
            # Pixels stay sharp when enlarged; drawings, which are larger already, are averaged.
            how = Image.Resampling.NEAREST if picture.shape[1] <= size else Image.Resampling.LANCZOS
            canvas.paste(Image.fromarray(picture).resize((size, height), how), (x, y))
        y += height + gap
    return np.asarray(canvas)


def side_by_side(rows: list[Strip], scale: int = 3, gap: int = 4) -> list[Picture]:
    """One picture for each frame that all of the rows, at least one, have: they stand next to each other, enlarged.

    Clips of two frames may have none: what is seen in the first and what is predicted of the second never meet.
    """
    start = max(row.first for row in rows)
    end = min(row.first + len(row.pictures) for row in rows)
    moments = []
    for frame in range(start, end):
        parts = [enlarged(row.pictures[frame - row.first], scale) for row in rows]
        bar = np.full((parts[0].shape[0], gap, 3), 128, np.uint8)
        moments.append(np.concatenate([x for part in parts for x in (bar, part)][1:], axis=1))
    return moments


def enlarged(picture: Picture, scale: int) -> Picture:
    """Every pixel a square of `scale` pixels."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def png(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    with io.BytesIO() as file:
        Image.fromarray(picture).save(file, format="PNG", optimize=True)
        return file.getvalue()


def gif(pictures: list[Picture], seconds: float = 0.25) -> bytes:
    """The pictures, at least one, as an endless animation with the same colours in all frames."""
    images = [Image.fromarray(picture) for picture in pictures]
    with io.BytesIO() as file:
        times = [int(1000 * seconds)] * (len(images) - 1) + [int(4000 * seconds)]  # rest on the last
        images[0].save(file, format="GIF", save_all=True, append_images=images[1:], duration=times, loop=0)
        return file.getvalue()
