"""The pictures of figure 5, of networks whose every prediction is known."""

import numpy as np
import torch

from data_shards.loader import DataConfig
from model.interface import ModelOutput, Truth, Video, VideoModel, Views
from model.video_autoencoder.convolutional import AEConv
from trainer.checkpoints.checkpoint import Checkpoint
from trainer.checkpoints.load import LoadedModel
from trainer.compare.figure import shown_clips
from trainer.config import RunConfig
from trainer.papers.video_autoencoder import VIDEO_AUTOENCODER

FIGURE = VIDEO_AUTOENCODER.table.figure
SQUARED = next(column for column in VIDEO_AUTOENCODER.table.columns if column.score == "mse")
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
        return ModelOutput(torch.zeros(()), {}, lambda: Views(prediction=prediction, flow=flow))

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
    (best, worst) = shown_clips(runs, iter([clips(3)]), SQUARED, FIGURE, 3)[::2]
    assert (best.place, best.rank) == (0, "Best of 3")
    assert (worst.place, worst.rank) == (2, "Worst of 3")
    assert worst.drawing.flow
    assert worst.drawing.remark == "Full colour of flow is 4 pixels a frame."
    (seen,) = worst.drawing.rows
    assert [len(picture) for picture in seen.pictures] == [6] * 3
    captions, pictures = zip(*worst.drawing.pictures[:3], strict=True)
    # Three pixels of 48 are wrong by a half.
    assert captions == ("true frame", f"half {3 / 48 / 4:.4f}", "right 0.0000")
    assert [picture[0, :4, 0].tolist() for picture in pictures] == [
        [255, 255, 255, 0],
        [128, 128, 128, 0],
        [255, 255, 255, 0],
    ]
    captions, pictures = zip(*worst.drawing.pictures[3:], strict=True)
    assert captions == ("flow of half", "true flow")
    assert (pictures[0] == np.array(RED)).all()
    assert pictures[1][0, :4].tolist() == [VIOLET, VIOLET, VIOLET, WHITE]


def test_no_flow_no_pictures_of_it() -> None:
    (clip,) = shown_clips({"a": loaded(Known(1.0))}, iter([clips(1)]), SQUARED, FIGURE, 5)
    assert [caption for caption, _ in clip.drawing.pictures] == ["true frame", "a 0.0000"]
    assert (clip.drawing.flow, clip.drawing.remark) == (False, "")


def test_a_paper_without_a_figure_shows_no_clips() -> None:
    batches = iter([clips(1)])
    assert shown_clips({"a": loaded(Known(1.0))}, batches, SQUARED, None, 5) == []
    assert len(list(batches)) == 1
