"""Where the two clip types meet: Batch (uint8, CPU, data_shards) to Video (float in [0, 1], device, model)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_shards.clip import UNLABELLED, Batch
from model.interface import Truth, Video


def to_video(batch: Batch, device: torch.device) -> Video:
    """The batch on `device`. Bytes travel, floats are made there: a quarter of the traffic."""

    def move(array: NDArray[Any] | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(np.ascontiguousarray(array)).to(device)

    frames = torch.from_numpy(np.ascontiguousarray(batch.frames)).to(device)
    ids, masks, ranks, present, labels = map(
        move, (batch.visible_ids, batch.amodal_masks, batch.depth_ranks, batch.present, batch.labels)
    )
    truth = Truth(
        visible_ids=None if ids is None else ids.long(),
        amodal_masks=None if masks is None else masks.float() / 255,
        depth_ranks=None if ranks is None else ranks.long(),
        centres=move(batch.centres),
        velocities=move(batch.velocities),
        colours=move(batch.colours),
        present=None if present is None else present.long(),
        labels=None if labels is None else labels.long().masked_fill_(labels == UNLABELLED, -1),
    )
    has_truth = any(value is not None for value in vars(truth).values())
    return Video(frames.permute(0, 1, 4, 2, 3).float() / 255, truth if has_truth else None)


def some_clips(video: Video, which: slice) -> Video:
    """Some clips of a batch, with their truth."""
    truth = video.truth
    if truth is not None:
        truth = Truth(
            **{name: None if value is None else value[which] for name, value in vars(truth).items()}
        )
    return Video(video.frames[which], truth)


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
