"""Where the two clip types meet: Batch (uint8, CPU, data_shards) to Video (float in [0, 1], device, model)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from data_shards.clip import BATCH_FIELDS, Array, Batch, Field
from data_shards.mistake import UserError
from model.bounds import Unfit
from model.interface import Truth, Video


@contextmanager
def users_clips() -> Iterator[None]:
    """What a model cannot take of clips is within a mistake of the user, who has chosen both."""
    try:
        yield
    except Unfit as error:
        raise UserError(str(error)) from error


def to_video(batch: Batch, device: torch.device) -> Video:
    """The batch on `device`. Bytes travel, floats are made there: a quarter of the traffic."""
    tensors = {
        name: _tensor(field, array, device)
        for name, field in BATCH_FIELDS.items()
        if (array := getattr(batch, name)) is not None
    }
    frames = tensors.pop("frames").permute(0, 1, 4, 2, 3)
    return Video(frames, Truth(**tensors) if tensors else None)


def _tensor(field: Field, array: Array, device: torch.device) -> Tensor:
    """Levels become floats in [0, 1], other whole numbers int64, of which -1 is "not known"."""
    tensor = torch.from_numpy(np.ascontiguousarray(array)).to(device)
    if field.full is not None:
        return tensor.float() / field.full
    if tensor.is_floating_point():
        return tensor
    numbers = tensor.long()
    return numbers if field.unknown is None else numbers.masked_fill_(tensor == field.unknown, -1)


def some_clips(video: Video, which: slice) -> Video:
    """Some clips of a batch, with their truth."""
    return Video(video.frames[which], _mapped(video.truth, lambda _, value: value[which]))


def first_frames(video: Video, count: int) -> Video:
    """The first `count` frames of each clip, with the truth and the labels of those.

    Raises:
        ValueError: the clips are shorter.
    """
    length = video.frames.shape[1]
    if not 1 <= count <= length:
        raise ValueError(f"frames {count} must be 1 to {length}, the length of the clips")

    def cut(name: str, value: Tensor) -> Tensor:
        axis = BATCH_FIELDS[name].axis("t")
        return value if axis is None else value.narrow(1 + axis, 0, count)

    labels = None if video.labels is None else cut("labels", video.labels)
    return Video(video.frames[:, :count], _mapped(video.truth, cut), labels)


def _mapped(truth: Truth | None, change: Callable[[str, Tensor], Tensor]) -> Truth | None:
    """The truth with `change`, given name and tensor, of all that there is."""
    if truth is None:
        return None
    there = {name: value for name, value in vars(truth).items() if value is not None}
    return Truth(**{name: change(name, value) for name, value in there.items()})


def limited(videos: Iterator[Video], clips: int | None) -> Iterator[Video]:
    """The first `clips` clips (None = all), in batches as they come."""
    for video in videos:
        size = video.frames.shape[0]
        yield video if clips is None or size <= clips else some_clips(video, slice(clips))
        if clips is not None:
            clips -= size
            if clips <= 0:
                return


def split_video(video: Video, size: int) -> list[Video]:
    """Micro-batches of `size` clips in order. Of the truth nothing is learnt from but labels of classes."""
    frames = torch.split(video.frames, size)
    if video.truth is None or video.truth.labels is None:
        return [Video(part) for part in frames]
    labels = torch.split(video.truth.labels, size)
    return [Video(part, labels=known) for part, known in zip(frames, labels, strict=True)]


def means(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Of each name over the micro-batches, which all have the same."""
    return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
