"""Objects in a video, frame by frame: masks of the model brought back to the video's own size, slots to numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt16
from torch import Tensor

from data_shards.takes import DecodedFrame, Fit
from model.interface import Followed, VideoModel
from trainer.batch import users_clips
from trainer.pictures.picture import Picture, rgb

PART = 16  # frames that go through the model at once
Box = tuple[int, int, int, int]  # left, top, width and height, pixels
LEAST_SHARE = 0.001  # of the frame that is looked at: less is no object


@dataclass(frozen=True)
class Sighting:
    """What was found in one frame."""

    number: int  # of the frame in its video, from 0
    time: float  # seconds
    shot: int  # objects of another one have other numbers
    picture: Picture  # in the video's own size
    ids: UInt16[np.ndarray, "h w"]  # number of the object that is seen at each pixel, from 1; 0 = none
    prediction: Picture | None  # of this frame, in the model's size; None = the first of a shot

    # Cached: every file about a video asks for them.
    @cached_property
    def boxes(self) -> dict[int, Box]:
        """The box around the visible part of each object, by its number."""
        return {number: box_of(self.ids == number) for number in objects_in(self.ids)}


def sightings(
    model: VideoModel, frames: Iterator[DecodedFrame], step: int, fit: Fit, device: torch.device
) -> Iterator[Sighting]:
    """What `model`, which follows, finds. Objects are numbered from 1 in the order in which they appear.

    Args:
        model: in eval mode.
        frames: of one video, with the `whole` picture.
        step: sets annealed quantities.
        fit: how frames became those that the model takes.
        device: of the model.

    Raises:
        UserError: the model cannot take such frames.
    """
    numbers: dict[tuple[int, int], int] = {}
    shot, before = -1, None
    for part in _parts(frames):
        if part[0].shot != shot:
            shot, before = part[0].shot, None
        following = _follow(model, part, step, before, device)
        views = following.views
        assert views.visible_masks is not None
        predicted = [] if views.prediction is None else rgb(views.prediction[0])
        guesses = [*[None] * (len(part) - len(predicted)), *predicted]
        for frame, masks, guess in zip(part, views.visible_masks[0].float().cpu(), guesses, strict=True):
            assert frame.whole is not None
            slots = slots_in(masks, frame.whole.shape[:2], fit)
            names = [0]
            for slot in range(len(masks)):
                seen = (slots == slot + 1).any()
                names.append(numbers.setdefault((shot, slot), len(numbers) + 1) if seen else 0)
            ids = np.asarray(names, np.uint16)[slots]
            yield Sighting(frame.number, frame.time, shot, frame.whole, ids, guess)
        before = following


def slots_in(masks: Float[Tensor, "k h w"], shape: tuple[int, int], fit: Fit) -> np.ndarray:
    """The slot, from 1, that is seen at each pixel of a frame of that height and width; 0 = none.

    Masks are enlarged as weights, so that edges come out smooth; a slot that is left with next to nothing is none.
    """
    top, left, height, width = looked_at(shape, (masks.shape[-2], masks.shape[-1]), fit)
    weights = torch.cat([1 - masks.sum(0, keepdim=True), masks])
    large = F.interpolate(weights[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    inside = large.argmax(0).numpy()
    areas = np.bincount(inside.ravel(), minlength=len(weights))
    kept = np.arange(len(weights)) * (areas >= max(1, LEAST_SHARE * inside.size))
    slots = np.zeros(shape, np.int64)
    slots[top : top + height, left : left + width] = kept[inside]
    return slots


def looked_at(own: tuple[int, int], small: tuple[int, int], fit: Fit) -> tuple[int, int, int, int]:
    """Top, left, height and width of the part of a frame of size `own` of which the model is shown `small` pixels."""
    if fit == "stretch":
        return 0, 0, *own
    scale = max(s / o for s, o in zip(small, own, strict=True))
    height, width = (min(o, max(1, round(s / scale))) for s, o in zip(small, own, strict=True))
    return (own[0] - height) // 2, (own[1] - width) // 2, height, width


def objects_in(ids: UInt16[np.ndarray, "h w"]) -> list[int]:
    """The numbers that are there, without 0."""
    return [number for number in np.flatnonzero(np.bincount(ids.ravel())).tolist() if number]


def box_of(mask: Bool[np.ndarray, "h w"]) -> Box:
    """Left, top, width and height in pixels of the least box around what is True, which is something."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    )


@torch.no_grad()
def _follow(
    model: VideoModel, part: list[DecodedFrame], step: int, before: Followed | None, device: torch.device
) -> Followed:
    images = torch.from_numpy(np.stack([frame.image for frame in part])).to(device)
    with users_clips():
        return model.follow(images.permute(0, 3, 1, 2)[None].float() / 255, step, before)


def _parts(frames: Iterator[DecodedFrame]) -> Iterator[list[DecodedFrame]]:
    """Frames that follow each other in one shot, some at a time."""
    part: list[DecodedFrame] = []
    for frame in frames:
        if part and (len(part) == PART or frame.shot != part[-1].shot):
            yield part
            part = []
        part.append(frame)
    if part:
        yield part
