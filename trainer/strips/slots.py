"""Slots as rows of pictures: masks, depth order, memories, motion (figures 4 and 5 of arXiv 2103.05669)."""

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, ImageDraw
from torch import Tensor

from model.interface import Video, Views
from model.ops.spatial_transformer import move_points
from trainer.pictures.picture import PALETTE, Picture, Strip, depth, labelled, object_colours, rgb, tinted
from trainer.scores.matching import match
from trainer.scores.motion import take_motion
from trainer.scores.segmentation import predicted_ids

OBJECT = "object"  # kind of the rows of what slots remember
ARROW_FRAMES = 3  # arrows show where an object would be after so many frames
LEAST_AREA = 0.002  # of the frame: a smaller mask has no place to draw an arrow from


def object_strips(views: Views, video: Video) -> list[Strip]:
    """Which object each pixel belongs to: the truth, and the slots' answer."""
    rows, frames = [], video.frames[0]
    if video.truth is not None and video.truth.visible_ids is not None:
        slots = matched_slots(views, video)
        about = "the answer, which the model never sees" + ("" if slots is None else "; colours as below")
        pictures = labelled(video.truth.visible_ids[0], object_colours(slots), frames)
        rows.append(Strip("true objects", about, pictures, place="view"))
    if views.visible_masks is not None:
        ids = (predicted_ids(views.visible_masks[0]) + 1) % (views.visible_masks.shape[2] + 1)
        pictures = labelled(ids, PALETTE, frames[: len(ids)])
        rows.append(Strip("found objects", "the slot that owns each pixel", pictures, place="film"))
    return rows


def slot_strips(views: Views, video: Video) -> list[Strip]:
    """The parts of the decomposition: masks, depth order, memories, background, motion."""
    rows = []
    if views.amodal_masks is not None:
        rows += _masks(views, views.amodal_masks[0])
    if views.slot_frames is not None:
        rows += _memories(views, views.slot_frames[0])
    if views.background is not None:
        about = "what the model remembers behind all slots"
        rows.append(Strip("background", about, rgb(views.background[0])))
    if views.motion is not None and views.amodal_masks is not None:
        about = f"where each slot goes within {ARROW_FRAMES} frames; the truth in white"
        pictures = arrows(views, video, matched_slots(views, video))
        rows.append(Strip("motion", about, pictures, drawn=True, place="view"))
    return rows


def matched_slots(views: Views, video: Video) -> Int[Tensor, "n"] | None:
    """The slot of each true object of the one clip, -1 for none; None where masks or their truth are missing."""
    known = video.truth is not None and video.truth.amodal_masks is not None
    return match(views, video)[0] if known and views.amodal_masks is not None else None


def arrows(views: Views, video: Video, slots: Int[Tensor, "n"] | None) -> list[Picture]:
    """Frames, dimmed and enlarged to about 256 pixels, with an arrow for each slot and a white one for each truth."""
    assert views.amodal_masks is not None
    masks = views.amodal_masks[0] > 0.5
    motion = take_motion(views, video)[0]
    height, width = masks.shape[-2:]
    scale = max(1, round(256 / max(height, width)))
    down, across = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    place = torch.stack([across, down], dim=-1).double().to(masks.device)
    truth, pictures = video.truth, []
    for t, picture in enumerate(rgb(video.frames[0, : len(motion)] * 0.6)):
        image = Image.fromarray(picture).resize((width * scale, height * scale), Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(image)
        if slots is not None and truth and truth.centres is not None and truth.velocities is not None:
            for centre, velocity in zip(truth.centres[0, t], truth.velocities[0, t], strict=True):
                _arrow(draw, centre, centre + ARROW_FRAMES * velocity, (255, 255, 255), scale, width=6)
        for k, mask in enumerate(masks[t]):
            if mask.float().mean() < LEAST_AREA:
                continue
            centre = place[mask].mean(0)
            end = centre + ARROW_FRAMES * (move_points(motion[t, k], centre) - centre)
            _arrow(draw, centre, end, tuple(PALETTE[k % len(PALETTE)].tolist()), scale, width=3)
        pictures.append(np.asarray(image))
    return pictures


def _masks(views: Views, masks: Float[Tensor, "t k h w"]) -> list[Strip]:
    """Full-support masks of each slot and their depth order."""
    about = "full support of this slot, hidden parts included"
    rows = [
        Strip(f"mask {k + 1}", about, tinted(mask, PALETTE[k % len(PALETTE)]), kind="mask")
        for k, mask in enumerate(masks.unbind(1))
    ]
    if views.depth_order is not None and masks.shape[1] > 1:
        pictures = depth(masks, views.depth_order[0])
        rows.append(Strip("depth order", "nearest yellow, farthest violet", pictures))
    return rows


def _memories(views: Views, colours: Float[Tensor, "t k c h w"]) -> list[Strip]:
    """Objects as remembered: colours inside the mask where there is one, else the whole memory."""
    rows = []
    for k, memory in enumerate(colours.unbind(1)):
        inside = memory if views.amodal_masks is None else memory * views.amodal_masks[0, :, k, None]
        about = "what this slot remembers of its object, hidden parts included"
        rows.append(Strip(f"{OBJECT} {k + 1}", about, rgb(inside), kind=OBJECT))
    return rows


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
