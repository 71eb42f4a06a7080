"""Exported models: equal to the bit wherever a model is asked for, and refused where a byte is not as it was."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import trainer
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError
from model import MODELS
from tests.saved_run import save_run
from trainer.checkpoints.exported import CONFIG, WEIGHTS, is_exported
from trainer.checkpoints.exported_weights import exported_files, read_exported
from trainer.checkpoints.load import load_model, read_weights


def export(run: str, folder: Path) -> Path:
    loaded = load_model(run)
    folder.mkdir()
    for name, data in exported_files(loaded.checkpoint, loaded.model.state_dict(), loaded.url).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def run(tmp_path: Path, tiny_set: str) -> str:
    return save_run(tmp_path / "run", tiny_set)


@pytest.fixture
def folder(tmp_path: Path, run: str) -> Path:
    return export(run, tmp_path / "model")


@pytest.mark.parametrize("name", ["object-discovery", "segnet", "ae-fclstm", "sqair-mlp"])
def test_a_model_comes_back_to_the_bit(tmp_path: Path, tiny_set: str, name: str) -> None:
    """Batch normalisation has counters beside weights."""
    run = save_run(tmp_path / "run", tiny_set, model=MODELS[name].small())
    before, after = load_model(run), load_model(str(export(run, tmp_path / "model")))
    assert after.config == before.config
    assert after.step == before.step == 7
    assert not after.model.training
    old, new = before.model.state_dict(), after.model.state_dict()
    assert list(old) == list(new)
    for key, value in old.items():
        assert new[key].dtype == value.dtype
        assert torch.equal(new[key], value), key
    assert type(trainer.load(str(tmp_path / "model"))) is type(before.model)


def test_the_file_is_one_of_safetensors_own(folder: Path, run: str) -> None:
    with safe_open(folder / WEIGHTS, "pt") as file:
        assert file.metadata() == {"format": "pt"}
        weights = load_model(run).model.state_dict()
        assert set(file.keys()) == set(weights)
        for name, value in weights.items():
            assert torch.equal(file.get_tensor(name), value)


def test_a_run_is_no_exported_model_and_the_other_way_round(folder: Path, run: str) -> None:
    assert is_exported(open_store(str(folder)))
    assert not is_exported(open_store(run))
    checkpoint, url, _ = read_weights(str(folder))
    assert url == str(folder)
    assert checkpoint.weights == checkpoint.files[WEIGHTS][1][:12]


def test_no_flipped_byte_is_taken(folder: Path) -> None:
    file = folder / WEIGHTS
    whole = file.read_bytes()
    store = open_store(str(folder))
    for place in {*range(0, 200, 7), *range(200, len(whole), len(whole) // 40), len(whole) - 1}:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StorageError, match=rf"{WEIGHTS}.*hash differs"):
            read_exported(store)
    for length in (0, 7, 100, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(StorageError, match=r"size differs"):
            read_exported(store)


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tree = json.loads((folder / CONFIG).read_text())
    change(tree)
    (folder / CONFIG).write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tree: tree.update(library_name="other"), "is none of commonfate"),
        (lambda tree: tree.pop("checkpoint"), "checkpoint: Input"),
        (lambda tree: tree["checkpoint"].update(step=-1), r"checkpoint\.step: "),
        (lambda tree: tree["checkpoint"].update(files={}), "size differs"),
        (lambda tree: tree["checkpoint"]["files"].update({"../x": [1, "a"]}), r"checkpoint\.files"),
    ],
)
def test_a_config_that_is_not_its_own_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    changed(folder, change)
    with pytest.raises(StorageError, match=told):
        load_model(str(folder))


def test_a_config_that_is_none_or_missing(folder: Path) -> None:
    (folder / CONFIG).write_text("{")
    with pytest.raises(StorageError, match="is no JSON; export the model once more"):
        load_model(str(folder))
    (folder / CONFIG).unlink()
    with pytest.raises(StorageError, match=CONFIG):
        load_model(str(folder))


def test_a_model_that_the_code_has_no_more_is_named(folder: Path) -> None:
    changed(folder, lambda tree: tree["checkpoint"]["config"]["model"].update(hidden=6))
    with pytest.raises(ValueError, match="do not fit this code's model"):
        load_model(str(folder))


def test_a_copy_elsewhere_is_the_same(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder, tmp_path / "moved")
    assert load_model(str(tmp_path / "moved")).step == 7
