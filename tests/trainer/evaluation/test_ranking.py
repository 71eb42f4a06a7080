"""Which clips are shown: of networks whose every prediction is known."""

import math

import pytest
import torch

from data_shards.loader import DataConfig
from model.interface import ModelOutput, Video, VideoModel, Views
from model.video_autoencoder.convolutional import AEConv
from trainer.checkpoints.checkpoint import Checkpoint
from trainer.checkpoints.load import LoadedModel
from trainer.config import RunConfig
from trainer.evaluation.ranking import best_to_worst, rank_words, spread
from trainer.scores import SCORES


class Dims(VideoModel):
    """Predicts the last two frames: the one as grey, the last at `level` of its brightness; nothing for None."""

    def __init__(self, level: float | None) -> None:
        super().__init__()
        self.level = level

    def forward(self, video: Video, step: int) -> ModelOutput:
        assert video.truth is None
        if self.level is None:
            return ModelOutput(torch.zeros(()), {}, Views)
        grey = torch.full_like(video.frames[:, -1:], 0.5)
        prediction = torch.cat([grey, self.level * video.frames[:, -1:]], 1)
        flow = torch.zeros(len(prediction), 2, 2, *prediction.shape[-2:])
        return ModelOutput(torch.zeros(()), {}, lambda: Views(prediction=prediction, flow=flow))

    def predict(self, video: Video, horizon: int) -> torch.Tensor:
        raise NotImplementedError


def loaded(level: float | None) -> LoadedModel:
    checkpoint = Checkpoint(0, 1, 0, "first", {}, "", "", {})
    return LoadedModel(RunConfig(model=AEConv(), data=DataConfig("set")), Dims(level), checkpoint, "run")


def clips(count: int) -> Video:
    """Clip i has i + 1 lit pixels."""
    frames = torch.zeros(count, 4, 1, 6, 8)
    for i in range(count):
        frames[i, :, :, 0, : i + 1] = 1
    return Video(frames)


def test_clips_are_of_the_first_64_in_the_order_of_the_split() -> None:
    video = clips(8)
    batches = iter([video] * 9)
    ranked = best_to_worst({"a": loaded(0.5)}, batches, SCORES["mse"], 2)
    assert [(clip.place, clip.rank) for clip in ranked] == [(0, "Best of 64"), (4, "Median of 64")]
    assert next(batches) is video  # the ninth batch is not asked for


@pytest.mark.parametrize("wanted", [1, 2, 5, 100])
def test_there_are_as_many_as_wanted_where_there_are(wanted: int) -> None:
    ranked = best_to_worst({"a": loaded(0.5)}, iter([clips(4), clips(3)]), SCORES["bce"], wanted)
    assert len(ranked) == min(wanted, 7)
    assert len({clip.place for clip in ranked}) == len(ranked)


def test_a_score_orders_clips_by_its_own_direction() -> None:
    """Half as bright: more lit pixels are a larger error of the last frame, and a lower PSNR."""
    for score, best in (("mse", 0.25 / 48), ("psnr", -10 * math.log10(0.25 / 48))):
        ranked = best_to_worst({"a": loaded(0.5)}, iter([clips(5)]), SCORES[score], 5, last=True)
        assert [clip.place for clip in ranked] == [0, 1, 2, 3, 4]
        assert ranked[0].values["a"] == pytest.approx(best)


def test_the_mean_is_over_networks_and_frames_unless_the_last_alone_counts() -> None:
    networks = {"dim": loaded(0.5), "right": loaded(1.0)}
    (clip,) = best_to_worst(networks, iter([clips(1)]), SCORES["mse"], 1, last=True)
    assert clip.values == {"dim": pytest.approx(0.25 / 48), "right": 0.0}
    (both,) = best_to_worst(networks, iter([clips(1)]), SCORES["psnr"], 1)
    grey = -10 * math.log10(0.25)  # whatever is lit
    assert both.values["right"] == pytest.approx((grey + 100) / 2)


def test_clips_without_a_value_come_last_and_networks_without_one_do_not_count() -> None:
    colour = Video(clips(2).frames.expand(-1, -1, 3, -1, -1))  # cross-entropy is of grey frames
    ranked = best_to_worst({"a": loaded(0.5)}, iter([colour, clips(2)]), SCORES["bce"], 4)
    assert [clip.place for clip in ranked] == [2, 3, 0, 1]
    assert math.isnan(ranked[-1].values["a"])
    ranked = best_to_worst({"a": loaded(0.5), "blind": loaded(None)}, iter([clips(3)]), SCORES["mse"], 3)
    assert [clip.place for clip in ranked] == [0, 1, 2]
    ranked = best_to_worst({"blind": loaded(None)}, iter([clips(3)]), SCORES["mse"], 2)
    assert [clip.place for clip in ranked] == [0, 1]


def test_what_is_kept_is_of_the_clip_alone() -> None:
    (clip,) = best_to_worst(
        {"a": loaded(0.5)}, iter([clips(3)]), SCORES["mse"], 1, kept=("prediction", "labels")
    )
    assert clip.video.frames.shape == (1, 4, 1, 6, 8)
    assert clip.views["a"].prediction.shape == (1, 2, 1, 6, 8)
    torch.testing.assert_close(clip.views["a"].prediction[:, -1], clip.video.frames[:, -1] / 2)
    assert clip.views["a"].flow is None


@pytest.mark.parametrize(
    ("total", "wanted", "places"),
    [
        (64, 1, [0]),
        (64, 3, [0, 32, 63]),
        (65, 6, [0, 8, 16, 32, 48, 64]),
        (2, 6, [0, 1]),
        (1, 3, [0]),
    ],
)
def test_clips_are_spread_from_best_to_worst(total: int, wanted: int, places: list[int]) -> None:
    assert spread(total, wanted) == places


def test_places_have_words() -> None:
    words = ["Best of 65", "Number 17 of 65", "Median of 65", "Worst of 65"]
    assert [rank_words(p, 65) for p in (0, 16, 32, 64)] == words
