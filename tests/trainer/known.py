"""Clips of which everything is known, and a model whose every answer is."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from data_shards.clip import Batch
from data_shards.sources.sprites import Sprites
from model.interface import ModelOutput, Video, VideoModel, Views
from trainer.batch import to_video


class Halves(VideoModel):
    """Predicts the mean of frame t and black; its two slots are the halves of the frame. Refuses to see truth."""

    def forward(self, video: Video, step: int) -> ModelOutput:
        assert video.truth is None
        assert not self.training
        past = video.frames[:, :-1]
        masks = torch.zeros(*past.shape[:2], 2, *past.shape[3:])
        half = past.shape[-1] // 2
        masks[:, :, 0, :, :half] = 1
        masks[:, :, 1, :, half:] = 1
        return ModelOutput(
            torch.zeros(()), {}, lambda: Views(prediction=past / 2, visible_masks=masks, amodal_masks=masks)
        )

    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        return video.frames[:, -1:].expand(-1, horizon, -1, -1, -1)


def sprites(count: int = 7, seed: int = 3, size: int = 32, **fields: Any) -> Video:
    """Clips of sprites with all their truth."""
    clips = list(Sprites(size=size, frames=6, **fields).clips("val", count, seed=seed))
    names = ("frames", "visible_ids", "amodal_masks", "depth_ranks", "centres", "velocities", "colours")
    stacked = {name: np.stack([getattr(clip, name) for clip in clips]) for name in names}
    present = np.ones(stacked["depth_ranks"].shape, np.int32)
    return to_video(Batch([clip.key for clip in clips], **stacked, present=present), torch.device("cpu"))
