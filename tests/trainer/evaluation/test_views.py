"""What a model that samples shows of a clip depends on the clip's place in its split, and on nothing else."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from data_shards.loader import DataConfig, scan, stretch
from data_shards.manifest import read_manifest
from data_shards.sources.sprites import Sprites
from data_shards.writer import build
from model.interface import ModelOutput, Video, VideoModel, Views
from trainer.batch import to_video
from trainer.evaluation.result import Evaluation
from trainer.evaluation.scoring import evaluate
from trainer.evaluation.views import draws_of_clip, views_of

CPU = torch.device("cpu")


class Dreaming(VideoModel):
    """Draws its predictions, of all clips at once."""

    samples = True

    def forward(self, video: Video, step: int) -> ModelOutput:
        assert video.truth is None
        prediction = torch.rand_like(video.frames[:, 1:])
        return ModelOutput(torch.zeros(()), {}, lambda: Views(prediction=prediction))

    def predict(self, video: Video, horizon: int) -> Tensor:
        return torch.rand(len(video.frames), horizon, *video.frames.shape[2:])


@pytest.mark.parametrize(("world", "batch"), [(1, 1), (2, 2), (3, 3)])
def test_scores_depend_on_neither_ranks_nor_batches(tmp_path: Path, world: int, batch: int) -> None:
    """Seven clips dealt over ranks as in training: no number of ranks divides them."""
    url = str(tmp_path / "set")
    manifest = build("sprites", Sprites(size=16, frames=4, objects=1), url, {"val": 7}, seed=0)

    def scored(rank: int, world: int, batch: int) -> Evaluation:
        torch.manual_seed(rank + batch)  # whatever the generators are at
        before = torch.get_rng_state()
        first = stretch(manifest, "val", rank, world).start
        clips = (to_video(part, CPU) for part in scan(DataConfig(url), "val", batch, rank, world))
        result = evaluate(Dreaming(), clips, 0, CPU, references={}, first=first)
        assert torch.equal(torch.get_rng_state(), before), "a run's draws do not depend on its evaluations"
        return result

    alone = scored(0, 1, 4)
    dealt = [scored(rank, world, batch) for rank in range(world)]
    assert sum(part.clips for part in dealt) == alone.clips == 7
    assert len(alone.scores) > 2
    for name, value in alone.scores.items():
        assert sum(part.scores[name] * part.clips for part in dealt) / 7 == pytest.approx(value, rel=1e-9)


def test_stretches_are_what_ranks_scan(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    build("sprites", Sprites(size=16, frames=4, objects=1), url, {"val": 7}, seed=0)
    whole = [key for part in scan(DataConfig(url), "val", 3) for key in part.keys]
    for limit in (None, 5):
        for rank in range(3):
            keys = [
                key for part in scan(DataConfig(url), "val", 2, rank, 3, limit=limit) for key in part.keys
            ]
            mine = stretch(read_manifest(url), "val", rank, 3, limit)
            assert keys == [whole[place] for place in mine]


def test_clips_alike_are_drawn_for_apart() -> None:
    model, still = Dreaming().eval(), torch.zeros(2, 4, 3, 8, 8)
    first, second = views_of(model, Video(still), 0).tensors()["prediction"]
    assert not torch.equal(first, second)
    later = views_of(model, Video(still[:1]), 0, first=1).tensors()["prediction"]
    assert torch.equal(later[0], second)


def test_a_roll_out_can_be_drawn_again() -> None:
    video = Video(torch.zeros(1, 4, 3, 8, 8))
    with draws_of_clip(3, CPU):
        once = Dreaming().predict(video, 2)
    with draws_of_clip(3, CPU):
        assert torch.equal(Dreaming().predict(video, 2), once)
    with draws_of_clip(4, CPU):
        assert not torch.equal(Dreaming().predict(video, 2), once)
