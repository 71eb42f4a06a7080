"""What a model shows of the clips of a split: a function of weights, clip, and the clip's place in the split.

A model that samples is shown one clip at a time, and torch's generators are seeded by its place: neither the size of
batches nor the number of ranks changes what it draws. Slots of a model that sees each frame by itself are linked.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from model.interface import ModelOutput, Video, VideoModel, Views
from trainer.batch import users_clips
from trainer.evaluation.linking import linked
from trainer.process_group import seed_draws

SEED = 0  # of all evaluations: a checkpoint has one score


@torch.no_grad()
def views_of(model: VideoModel, video: Video, step: int, first: int = 0) -> Views:
    """What `model` makes of a batch of clips. It is shown frames only, never the truth.

    If it sees each frame by itself, its slots are linked over time.

    Args:
        model: in eval mode.
        video: clips that follow each other in their split.
        step: sets annealed quantities.
        first: place of the first of them in the split, from 0.

    Raises:
        UserError: the model cannot take such clips.
    """
    views = _views(model, video, step, first)
    return linked(views) if model.independent else views


def _views(model: VideoModel, video: Video, step: int, first: int) -> Views:
    output: ModelOutput
    if not model.samples:
        with users_clips():
            output = model(Video(video.frames), step)
        return output.views
    parts = []
    for place, frames in enumerate(torch.split(video.frames, 1), first):
        with users_clips(), draws_of_clip(place, frames.device):
            output = model(Video(frames), step)
        parts.append(output.views)
    return Views.joined(parts)


@contextmanager
def draws_of_clip(place: int, device: torch.device) -> Iterator[None]:
    """Within, torch's generators are as they are for the clip at `place`; afterwards as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        seed_draws(SEED, place)
        yield
