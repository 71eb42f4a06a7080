"""The pictures of figure 5, of networks whose every prediction is known."""

import numpy as np
import pytest
import torch

from data_shards.loader import DataConfig
from model.interface import ModelOutput, Truth, Video, VideoModel, Views
from model.video_autoencoder.convolutional import AEConv
from trainer.checkpoints.checkpoint import Checkpoint
from trainer.checkpoints.load import LoadedModel
from trainer.compare.figure import shown_clips
from trainer.config import RunConfig

RED, VIOLET, WHITE = [255, 0, 0], [88, 0, 255], [255, 255, 255]


class Known(VideoModel):
    """Predicts the last two frames: the one as grey, the last at `level` of its brightness, moving right by `speed`."""

    def __init__(self, level: float, speed: float | None = None) -> None:
        super().__init__()
        self.level, self.speed = level, speed

    def forward(self, video: Video, step: int) -> ModelOutput:
        grey = torch.full_like(video.frames[:, -1:], 0.5)
        prediction = torch.cat([grey, self.level * video.frames[:, -1:]], 1)
        flow = None
        if self.speed is not None:
            flow = torch.zeros(len(prediction), 2, 2, *prediction.shape[-2:])
            flow[:, -1, 0] = self.speed
        return ModelOutput(torch.zeros(()), {}, Views(prediction=prediction, flow=flow))

    def predict(self, video: Video, horizon: int) -> torch.Tensor:
        raise NotImplementedError


def loaded(model: VideoModel) -> LoadedModel:
    return LoadedModel(
        RunConfig(model=AEConv(), data=DataConfig("set")),
        model,
        Checkpoint(0, 1, 0, "first", {}, "", "", {}),
        "run",
    )


def clips(count: int) -> Video:
    """Clip i has i + 1 lit pixels in the first row, which object 1 covers; it goes up by 4 into the last frame."""
    frames = torch.zeros(count, 4, 1, 6, 8)
    for i in range(count):
        frames[i, :, :, 0, : i + 1] = 1
    velocities = torch.zeros(count, 4, 1, 2)
    velocities[:, 2, 0, 1] = -4.0
    ids = (frames[:, :, 0] > 0).long()
    return Video(frames, Truth(visible_ids=ids, velocities=velocities))


def test_every_picture_is_of_the_last_frame() -> None:
    runs = {"half": loaded(Known(0.5, speed=4.0)), "right": loaded(Known(1.0))}
    (best, worst) = shown_clips(runs, iter([clips(3)]), "mse", 3)[::2]
    assert (best.place, best.rank) == (0, "Best of 3")
    assert (worst.place, worst.rank) == (2, "Worst of 3")
    assert worst.fastest == 4.0
    assert [len(picture) for picture in worst.seen] == [6] * 3
    captions, pictures = zip(*worst.predicted, strict=True)
    # Three pixels of 48 are wrong by a half.
    assert captions == ("true frame", f"half {3 / 48 / 4:.4f}", "right 0.0000")
    assert [picture[0, :4, 0].tolist() for picture in pictures] == [
        [255, 255, 255, 0],
        [128, 128, 128, 0],
        [255, 255, 255, 0],
    ]
    captions, pictures = zip(*worst.flow, strict=True)
    assert captions == ("flow of half", "true flow")
    assert (pictures[0] == np.array(RED)).all()
    assert pictures[1][0, :4].tolist() == [VIOLET, VIOLET, VIOLET, WHITE]


def test_no_flow_no_pictures_of_it() -> None:
    (clip,) = shown_clips({"a": loaded(Known(1.0))}, iter([clips(1)]), "mse", 5)
    assert (clip.flow, clip.fastest) == ([], 0.0)


def test_clips_are_of_the_first_64_in_the_order_of_the_split() -> None:
    video = clips(8)
    batches = iter([video] * 9)
    shown = shown_clips({"a": loaded(Known(0.5))}, batches, "mse", 2)
    assert [(clip.place, clip.rank) for clip in shown] == [(0, "Best of 64"), (4, "Median of 64")]
    assert next(batches) is video  # the ninth batch is not asked for


@pytest.mark.parametrize("wanted", [1, 2, 5, 100])
def test_there_are_as_many_as_wanted_where_there_are(wanted: int) -> None:
    shown = shown_clips({"a": loaded(Known(0.5))}, iter([clips(4), clips(3)]), "bce", wanted)
    assert len(shown) == min(wanted, 7)
    assert len({clip.place for clip in shown}) == len(shown)
