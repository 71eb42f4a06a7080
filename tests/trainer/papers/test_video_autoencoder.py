from dataclasses import replace
from typing import Any

import pytest
import torch

from data_shards.manifest import Manifest
from model import MODELS
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
