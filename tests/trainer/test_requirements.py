"""A byte budget is checked as training will meet it, before anything is written, and leaves no trace."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_shards.loader import DataConfig
from data_shards.manifest import MANIFEST, read_manifest
from data_shards.storage.store import StorageError
from model import MODELS
from tests.launch import TINY
from trainer.__main__ import main
from trainer.config import RunConfig
from trainer.loop import train
from trainer.overrides import resolve
from trainer.process_group import ProcessGroup
from trainer.requirements import require_fit


def words(run: Path, data: str, *more: str) -> list[str]:
    return [*TINY, f"data.url={data}", f"output={run}", "steps=1", *more]


def least(run: Path, data: str, budget: int, *more: str) -> int:
    """What the refusal of `budget` says is the least that works."""
    with pytest.raises(ValueError) as refusal:
        train(resolve("demo", words(run, data, f"model.remat=bytes:{budget}", *more)))
    told = re.fullmatch(
        rf"field model\.remat: got 'bytes:{budget}', the least that works here is 'bytes:(\d+)'",
        str(refusal.value),
    )
    assert told, refusal.value
    assert not run.exists()
    return int(told[1])


def test_the_least_budget_that_is_told_trains_and_can_be_scored(
    data: str, tmp_path: Path, alone: ProcessGroup
) -> None:
    run = tmp_path / "run"
    enough = least(run, data, 1)
    assert least(run, data, enough - 1) == enough
    assert train(resolve("demo", words(run, data, f"model.remat=bytes:{enough}"))).step == 1
    assert main(["evaluate", str(run), "--split", "train", "--batch", "8"]) == 0, (
        "on more clips than trained on at once"
    )


def test_the_budget_is_checked_in_the_precision_of_training(
    data: str, tmp_path: Path, alone: ProcessGroup
) -> None:
    run, half = tmp_path / "run", "engine.precision=bf16"
    assert (enough := least(run, data, 1, half)) != least(run, data, 1)
    assert train(resolve("demo", words(run, data, f"model.remat=bytes:{enough}", half))).step == 1


@pytest.mark.parametrize("name", ["object-discovery", "segnet-flow"])
def test_the_check_leaves_model_and_draws_as_they_were(data: str, name: str) -> None:
    config = RunConfig(model=replace(MODELS[name].small(), remat="bytes:1G"), data=DataConfig(data))
    model = config.model.build()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    draws = torch.get_rng_state()
    require_fit(model, config, read_manifest(data), torch.device("cpu"), micro=2)
    assert model.training
    assert torch.equal(torch.get_rng_state(), draws)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_shape_that_is_not_the_clips_is_refused_before_it_is_believed(data: str, tmp_path: Path) -> None:
    """One of these clips would take 1.5 GiB, as the model reads it."""
    url = tmp_path / "set"
    shutil.copytree(data, url)
    tree = json.loads((url / MANIFEST).read_text()) | {"shape": [8, 4096, 4096, 3]}
    (url / MANIFEST).write_text(json.dumps(tree))
    with pytest.raises(StorageError, match=rf"{url}/train-.*the manifest says \(8, 4096, 4096, 3\)"):
        train(resolve("demo", words(tmp_path / "run", str(url))))


def test_a_step_that_cannot_be_compiled_is_refused(
    data: str, tmp_path: Path, alone: ProcessGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with pytest.raises(ValueError, match=r"field model\.compile: .*set engine\.zero_stage to 2 or less"):
        train(resolve("demo", words(run, data, "model.compile=true", "engine.zero_stage=3")))
    monkeypatch.setenv("CXX", "c++-that-is-not-there")
    with pytest.raises(
        ValueError, match=r"field model\.compile: .*no C\+\+ compiler c\+\+-that-is-not-there"
    ):
        train(resolve("demo", words(run, data, "model.compile=true")))
    assert not run.exists()
