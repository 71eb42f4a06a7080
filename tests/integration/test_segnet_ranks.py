"""SegNet on several ranks: running statistics are those of all clips, and SGD moves to another number of ranks."""

import json
from pathlib import Path

import pytest
import torch

from data_shards.sources.camvid import CamVid
from data_shards.storage.place import open_store
from data_shards.writer import build
from tests.data_shards.test_camvid import write_camvid
from tests.launch import losses, start
from trainer.checkpoints.checkpoint import newest
from trainer.checkpoints.load import load_model
from trainer.loop import train
from trainer.overrides import resolve

MODEL = {"name": "segnet", "width": 4, "kernel": 3}
SGD = [
    "optim.decay=constant",
    "optim.name=sgd",
    "optim.momentum=0.9",
    "optim.weight_decay=5e-4",
    "optim.clip_norm=0",
]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("camvid")
    write_camvid(folder, "train", [f"A_{number:04d}" for number in range(0, 480, 30)])
    build(
        "camvid",
        CamVid(str(folder), width=24, height=16, frames=1),
        str(folder / "set"),
        {"train": 16},
        seed=0,
    )
    return [f"data.url={folder / 'set'}", f"model={json.dumps(MODEL)}", *SGD]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_running_statistics_are_those_of_all_ranks(words: list[str], tmp_path: Path) -> None:
    """Weights stand still; the first layer's means are then linear, and must not depend on who saw which clip."""
    still = [*words, "optim.lr=1e-30", "steps=3"]
    start(tmp_path / "two", 2, [*still, "batch.micro=2"]).wait()
    start(tmp_path / "one", 1, [*still, "batch.micro=4"]).wait()
    two, one = (load_model(str(tmp_path / name)).model.state_dict() for name in ("two", "one"))
    name = "segnet.encoder.0.1.running_mean"
    torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-5)
    assert one[name].abs().min() > 0
    assert two["segnet.encoder.0.1.num_batches_tracked"] == 3, "counting FLOPs leaves no trace"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sgd_goes_on_with_another_number_of_ranks(words: list[str], tmp_path: Path) -> None:
    run = tmp_path / "moved"
    common = [*words, "optim.lr=0.05", "engine.zero_stage=1", "batch.micro=2"]
    start(tmp_path / "straight", 2, [*common, "steps=8"]).wait()
    start(run, 2, [*common, "steps=5"]).wait()
    start(run, 1, [*common, "steps=8"]).wait()
    found = newest(open_store(str(run)))
    assert found is not None
    assert (found.step, found.world) == (8, 1)
    straight, moved = losses(tmp_path / "straight"), losses(run)
    assert moved.keys() == straight.keys()
    assert moved == pytest.approx(straight, rel=1e-5)


def test_sets_without_labels_are_refused(tiny_set: str, tmp_path: Path) -> None:
    config = resolve("camvid-segnet", [f"data.url={tiny_set}", f"output={tmp_path / 'run'}"])
    with pytest.raises(ValueError, match="has no labels, which the model learns from"):
        train(config)
    assert not (tmp_path / "run").exists()
