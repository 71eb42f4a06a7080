"""Table 1 as printed, how it is read, and where a set or a run is not of its scale."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data_shards.manifest import Manifest
from data_shards.sources.moving_mnist import MovingMnist
from data_shards.writer import build
from model import MODELS
from model.video_autoencoder.convolutional import AEConv
from tests.saved_run import save_run
from trainer.__main__ import main
from trainer.papers.video_autoencoder import TABLE_1, run_differences, set_differences

PAPERS = Manifest(
    source="moving-mnist",
    parameters={"digits": "mnist/", "sequences": None, "binary": True},
    seed=0,
    video_encoding="lossless",
    shape=(11, 64, 64, 1),
    fields=("frames",),
    objects=2,
    splits={},
    statistics={},
)


@pytest.mark.parametrize("kind", TABLE_1)
def test_our_networks_have_the_papers_parameters(kind: str) -> None:
    with torch.device("meta"):
        model = MODELS[kind]().build()
    assert sum(p.numel() for p in model.parameters()) == TABLE_1[kind].parameters


def test_the_papers_scale_differs_in_nothing() -> None:
    assert set_differences(PAPERS, 3000) == []
    fixed = replace(PAPERS, parameters={"digits": "scikit-learn", "sequences": "test.npy", "binary": True})
    assert set_differences(fixed, 10_000) == []
    assert run_differences(TABLE_1["ae-conv"], 109_073, 10_000, 5.0) == []
    assert run_differences(TABLE_1["ae-conv"], 109_073, None, 100.0) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": (11, 32, 48, 1)}, "frames of 32 x 48 pixels, not 64 x 64"),
        ({"shape": (12, 64, 64, 1)}, "11 frames seen, not 10"),
        ({"shape": (11, 64, 64, 3)}, "frames in colour, not grey"),
        ({"source": "sprites"}, "clips of sprites, not of Moving MNIST"),
        ({"parameters": {"digits": "scikit-learn", "binary": True}}, "digits of scikit-learn, not of MNIST"),
        ({"parameters": {"digits": "mnist/", "binary": False}}, "grey digits, not binary"),
    ],
)
def test_another_set_is_told(changes: dict[str, Any], words: str) -> None:
    assert set_differences(replace(PAPERS, **changes), 3000) == [words]


def test_fewer_clips_and_epochs_are_told() -> None:
    assert set_differences(PAPERS, 1234) == ["tested on 1,234 clips, not 3,000"]
    assert run_differences(TABLE_1["ae-conv"], 7, 2000, 1.6) == [
        "7 parameters, not 109,073",
        "trained on 2,000 clips, not 10,000",
        "trained for 1.6 epochs, not 5 or more",
    ]
    assert run_differences(TABLE_1["ae-conv"], 109_073, None, None) == ["trained for an unknown time"]


def test_the_levels_that_table_1_is_read_by(real_data: Path, tmp_path: Path) -> None:
    """Two binary digits of MNIST at 64 x 64: black has an L1 of 0.05 and the best constant a cross-entropy of 0.1985.

    So AE-Conv's 0.0948 is no absolute or squared error, and as a cross-entropy half of the constant's.
    """
    source = MovingMnist(digits=str(real_data / "mnist"), frames=11)
    build("moving-mnist", source, str(tmp_path / "set"), {"train": 200, "test": 100}, seed=0)
    run = save_run(tmp_path / "run", str(tmp_path / "set"), model=AEConv(kernel=1, filters=1, hidden=1))
    assert main(["compare", run, "--out", str(tmp_path)]) == 0
    tree = json.loads((tmp_path / "compare.json").read_text())
    assert tree["differences"] == ["tested on 100 clips, not 3,000"]
    rows = {row["name"]: row["scores"] for row in tree["references"]}
    assert rows["black"]["l1"] == rows["black"]["mse"] == pytest.approx(0.05, abs=0.003)
    assert rows["constant"]["bce"] == pytest.approx(0.1985, abs=0.01)
    assert rows["constant"]["bce"] == pytest.approx(2 * 0.0948, abs=0.015)
