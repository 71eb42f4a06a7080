"""Pictures of what a model sees: tensors in, uint8 arrays and PNG or GIF bytes out.

A `Strip` is one labelled row of small pictures with a column for each frame of the clip; `strips` makes all rows
that a model's views allow (figures 4 and 5 of arXiv 2103.05669 and more), `sheet` puts rows on one picture.
Slots have the same colour everywhere, and a true object has the colour of the slot that stands for it.
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from model.interface import Video, Views
from trainer.scores import LAYERS
from trainer.scores.consistency import over_gap
from trainer.scores.matching import match
from trainer.scores.motion import apply_homography, take_motion
from trainer.scores.segmentation import predicted_ids

Picture = UInt8[np.ndarray, "_ _ 3"]  # any height and width: some functions change them

PALETTE = np.array(
    [[255, 107, 107], [84, 160, 255], [254, 211, 48], [38, 222, 129],
     [190, 120, 255], [255, 159, 67], [72, 219, 251], [255, 121, 198]], dtype=np.uint8,
)  # fmt: skip
UNMATCHED = np.array([150, 150, 150], dtype=np.uint8)
DEPTH = np.array(
    [[255, 240, 130], [240, 120, 80], [150, 50, 110], [70, 30, 110]], dtype=np.uint8
)  # near to far
HEAT = np.array([[0, 0, 0], [90, 20, 110], [230, 80, 60], [255, 230, 130], [255, 255, 255]], dtype=np.float64)
ARROW_FRAMES = 3  # arrows show where an object would be after so many frames
DIMMED = 0.35  # of a frame's brightness where no object is found
LEAST_AREA = 0.002  # of the frame: a smaller mask has no place to draw an arrow from


@dataclass(frozen=True)
class Strip:
    """A row of pictures: `pictures[i]` belongs to frame `first + i` of the clip, counted from 1."""

    label: str
    about: str
    pictures: list[Picture]
    first: int = 1
    drawn: bool = False  # lines rather than pixels: looks better smoothed than sharp


def strips(views: Views, video: Video) -> list[Strip]:
    """All rows that the views (and the truth) of one clip allow, in reading order.

    Args:
        views: of a batch of one clip.
        video: the same clip.
    """
    frames = video.frames[0]
    rows = [Strip("frames", "what the model is shown, frame by frame", rgb(frames))]
    rows += _predicted(views, video)
    slots = match(views, video)[0] if _has_amodal_truth(views, video) else None
    if video.truth is not None and video.truth.visible_ids is not None:
        about = "the answer, which the model never sees" + ("" if slots is None else "; colours as below")
        rows.append(
            Strip("true objects", about, labelled(video.truth.visible_ids[0], object_colours(slots), frames))
        )
    if views.visible_masks is not None:
        ids = (predicted_ids(views.visible_masks[0]) + 1) % (views.visible_masks.shape[2] + 1)
        rows.append(
            Strip(
                "found objects", "the slot that owns each pixel", labelled(ids, PALETTE, frames[: len(ids)])
            )
        )
    if views.amodal_masks is not None:
        rows += _masks(views, views.amodal_masks[0])
    if views.slot_frames is not None:
        rows += _memories(views, views.slot_frames[0])
    if views.background is not None:
        rows.append(
            Strip("background", "what the model remembers behind all slots", rgb(views.background[0]))
        )
    if views.motion is not None and views.amodal_masks is not None:
        about = f"where each slot goes within {ARROW_FRAMES} frames; the truth in white"
        rows.append(Strip("motion", about, arrows(views, video, slots), drawn=True))
    return rows


def cycle_strips(views: Views, video: Video, t1: int, t2: int) -> list[Strip]:
    """Figure 6: the frame at t2 made from the objects found at t1, and the other way round.

    Each row: the frame started from, its masks, what they become, the true frame there. Empty where the model
    lacks masks, memories, order, motion or background. Frames count from 1, both among the decomposed.
    """
    if any(getattr(views, name) is None for name in LAYERS):
        return []
    rows = []
    for origin, target in ((t1, t2), (t2, t1)):
        made = over_gap(views, t2 - t1, "forward" if target > origin else "backward")[0]
        at = (
            target - 1 - (t2 - t1 if target > origin else 0)
        )  # the first composed frame is number gap + 1, or 1
        masks = views.amodal_masks[0, origin - 1]  # type: ignore[index]
        pictures = rgb(video.frames[0, origin - 1 : origin])
        pictures += [tinted(mask[None], PALETTE[k % len(PALETTE)])[0] for k, mask in enumerate(masks)]
        pictures += rgb(made[at : at + 1]) + rgb(video.frames[0, target - 1 : target])
        about = f"frame {origin}, its masks, frame {target} made of them, the true frame {target}"
        rows.append(Strip(f"{origin} → {target}", about, pictures))
    return rows


def rollout_strip(rollout: Float[Tensor, "1 horizon c h w"], seen: int) -> Strip:
    """Frames that the model dreams up after having seen the first `seen` frames."""
    return Strip("rollout", f"frames {seen + 1} on, from the first {seen} alone", rgb(rollout[0]), seen + 1)


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


def arrows(views: Views, video: Video, slots: Int[Tensor, "n"] | None) -> list[Picture]:
    """Frames, dimmed and enlarged to about 256 pixels, with an arrow for each slot and a white one for each truth."""
    assert views.amodal_masks is not None
    masks = views.amodal_masks[0] > 0.5
    motion = take_motion(views, video)[0]
    height, width = masks.shape[-2:]
    scale = max(1, round(256 / max(height, width)))
    down, across = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    place = torch.stack([across, down], dim=-1).double().to(masks.device)
    pictures = []
    for t, picture in enumerate(rgb(video.frames[0, : len(motion)] * 0.6)):
        image = Image.fromarray(picture).resize((width * scale, height * scale), Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(image)
        if video.truth is not None and slots is not None and video.truth.velocities is not None:
            for centre, velocity in zip(video.truth.centres[0, t], video.truth.velocities[0, t], strict=True):  # type: ignore[index]
                _arrow(draw, centre, centre + ARROW_FRAMES * velocity, (255, 255, 255), scale, width=6)
        for k, mask in enumerate(masks[t]):
            if mask.float().mean() < LEAST_AREA:
                continue
            centre = place[mask].mean(0)
            end = centre + ARROW_FRAMES * (apply_homography(motion[t, k], centre) - centre)
            _arrow(draw, centre, end, tuple(PALETTE[k % len(PALETTE)].tolist()), scale, width=3)
        pictures.append(np.asarray(image))
    return pictures


def object_colours(slots: Int[Tensor, "n"] | None) -> UInt8[np.ndarray, "n 3"]:
    """A colour for each true object: its slot's, grey where no slot stands for it."""
    if slots is None:
        return PALETTE
    return np.stack([UNMATCHED if k < 0 else PALETTE[k % len(PALETTE)] for k in slots.tolist()])


def sheet(rows: list[Strip], columns: int, size: int = 96, margin: int = 130, titles: bool = True) -> Picture:
    """Rows of pictures with their labels at the left and, with `titles`, frame numbers on top, on white."""
    gap, top = 3, 22 if titles else 0
    canvas = Image.new("RGB", (margin + columns * (size + gap), top + len(rows) * (size + gap)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for column in range(columns if titles else 0):
        draw.text(
            (margin + column * (size + gap) + size / 2, 4), f"t = {column + 1}", "black", font, anchor="ma"
        )
    for i, row in enumerate(rows):
        y = top + i * (size + gap)
        draw.text((margin - 10, y + size / 2), row.label, "black", font, anchor="rm")
        for j, picture in enumerate(row.pictures):
            x = margin + (row.first - 1 + j) * (size + gap)
            # Pixels stay sharp when enlarged; drawings, which are larger already, are averaged.
            how = Image.Resampling.NEAREST if len(picture) <= size else Image.Resampling.LANCZOS
            canvas.paste(Image.fromarray(picture).resize((size, size), how), (x, y))
    return np.asarray(canvas)


def side_by_side(rows: list[Strip], labels: tuple[str, ...], scale: int = 3, gap: int = 4) -> list[Picture]:
    """One picture for each frame that all the named rows have: the rows next to each other, enlarged."""
    chosen = [row for label in labels for row in rows if row.label == label]
    start = max(row.first for row in chosen)
    end = min(row.first + len(row.pictures) for row in chosen)
    moments = []
    for frame in range(start, end):
        parts = [enlarged(row.pictures[frame - row.first], scale) for row in chosen]
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
    """The pictures as an endless animation with the same colours in all frames."""
    images = [Image.fromarray(picture) for picture in pictures]
    with io.BytesIO() as file:
        times = [int(1000 * seconds)] * (len(images) - 1) + [int(4000 * seconds)]  # rest on the last
        images[0].save(file, format="GIF", save_all=True, append_images=images[1:], duration=times, loop=0)
        return file.getvalue()


def _predicted(views: Views, video: Video) -> list[Strip]:
    """Predictions and their errors, beside the error of copying the last frame."""
    if views.prediction is None:
        return []
    guess = views.prediction[0]
    first = len(video.frames[0]) - len(guess)
    error = (guess - video.frames[0, first:]).abs().mean(1)
    moving = max(first, 1)  # before the first frame there is none to copy
    still = (video.frames[0, moving:] - video.frames[0, moving - 1 : -1]).abs().mean(1)
    return [
        Strip("prediction", "each frame as predicted from the frames before it", rgb(guess), first + 1),
        Strip("error", "of the prediction: black is none, white is wrong", heat(error), first + 1),
        Strip("error of copying", "the same, for copying the last frame", heat(still), moving + 1),
    ]


def _masks(views: Views, masks: Float[Tensor, "t k h w"]) -> list[Strip]:
    """Full-support masks of each slot and their depth order."""
    rows = [
        Strip(f"mask {k + 1}", "full support of this slot, hidden parts included", tinted(m, PALETTE[k % 8]))
        for k, m in enumerate(masks.unbind(1))
    ]
    if views.depth_order is not None and masks.shape[1] > 1:
        rows.append(
            Strip("depth order", "nearest yellow, farthest violet", depth(masks, views.depth_order[0]))
        )
    return rows


def _memories(views: Views, colours: Float[Tensor, "t k c h w"]) -> list[Strip]:
    """Objects as remembered: colours inside the mask where there is one, else the whole memory."""
    rows = []
    for k, memory in enumerate(colours.unbind(1)):
        inside = memory if views.amodal_masks is None else memory * views.amodal_masks[0, :, k, None]
        about = "what this slot remembers of its object, hidden parts included"
        rows.append(Strip(f"object {k + 1}", about, rgb(inside)))
    return rows


def _has_amodal_truth(views: Views, video: Video) -> bool:
    return views.amodal_masks is not None and video.truth is not None and video.truth.amodal_masks is not None


def _arrow(
    draw: ImageDraw.ImageDraw, start: Tensor, end: Tensor, colour: tuple[int, ...], scale: int, width: int
) -> None:
    """A line with a head, from pixel coordinates; a dot where nothing moves."""
    a, b = (np.array(point.tolist()) * scale for point in (start, end))
    length = float(np.linalg.norm(b - a))
    draw.ellipse([*(a - width), *(a + width)], fill=colour)
    if length < 1:
        return
    along = (b - a) / length
    across, head = np.array([-along[1], along[0]]), min(6.0 + 2 * width, length)
    draw.line([*a, *(b - along * head / 2)], fill=colour, width=width)
    base, half = b - along * head, across * head / 2
    draw.polygon([tuple(b), tuple(base + half), tuple(base - half)], fill=colour)
