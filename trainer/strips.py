"""Strips: all rows of pictures that a model's views of a clip allow (figures 4 to 6 of arXiv 2103.05669 and more)."""

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, ImageDraw
from torch import Tensor

from model.interface import Video, Views
from trainer.flow_strips import flow_strips
from trainer.label_strips import label_strips
from trainer.pictures import PALETTE, Picture, Strip, depth, heat, labelled, object_colours, rgb, tinted
from trainer.scores import LAYERS
from trainer.scores.consistency import over_gap
from trainer.scores.matching import match
from trainer.scores.motion import apply_homography, take_motion
from trainer.scores.segmentation import predicted_ids

ARROW_FRAMES = 3  # arrows show where an object would be after so many frames
LEAST_AREA = 0.002  # of the frame: a smaller mask has no place to draw an arrow from


def strips(views: Views, video: Video) -> list[Strip]:
    """All rows that the views (and the truth) of one clip allow, in reading order.

    Args:
        views: of a batch of one clip.
        video: the same clip.
    """
    frames = video.frames[0]
    rows = [Strip("frames", "what the model is shown, frame by frame", rgb(frames))]
    rows += _predicted(views, video)
    rows += flow_strips(views, video)
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
    rows += label_strips(views, video)
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
