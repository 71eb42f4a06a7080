"""A checkpoint is complete or absent, the newest complete one is found, damage is noticed."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data_shards.storage import FolderStore, StorageError, Store, open_store
from trainer.checkpoint import FOLDER, MANIFEST, load_model, newest, read_checkpoint, steps_on
from trainer.engine import Engine
from trainer.overrides import resolve
from trainer.process_group import ProcessGroup
from trainer.saver import Saver

ALONE = ProcessGroup(0, 1, 0, torch.device("cpu"))
PROGRESS = {"first_start": 1.0, "seconds": {}, "restarts": 0}


class FakeEngine(Engine):
    """Writes a file as DeepSpeed would; holds the weights of a real model."""

    def __init__(self, config) -> None:
        torch.manual_seed(3)
        self.net = config.model.build()

    def save(self, folder: Path) -> None:
        (folder / "state").mkdir(parents=True)
        (folder / "state" / "mp_rank_00_model_states.pt").write_bytes(b"x" * 100)

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in self.net.state_dict().items()}


class FailingStore(FolderStore):
    """Refuses every object whose name contains `word`."""

    word = ""

    def put(self, name: str, source: bytes | Path, if_absent: bool = False) -> None:
        if self.word and self.word in name:
            raise OSError(f"no space for {name}")
        super().put(name, source, if_absent)


@pytest.fixture
def config(tmp_path: Path):
    return resolve("demo", [f"output={tmp_path}", "checkpoint.keep=2"])


def save(store: Store, config, *steps: int) -> None:
    saver = Saver(store, config, ALONE, "revision")
    for step in steps:
        saver.save(FakeEngine(config), step, PROGRESS)
    saver.wait()


def test_newest_is_found_and_older_are_pruned(config, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert newest(store) is None
    save(store, config, 10, 20, 30)
    assert steps_on(store) == [20, 30]
    assert not (tmp_path / FOLDER / "step-00000010").exists()
    found = newest(store)
    assert found is not None
    assert (found.step, found.world, found.digest) == (30, 1, config.digest())
    assert read_checkpoint(store, 20).step == 20


@pytest.mark.parametrize("word", ["weights.pt", "rank-00000.json", MANIFEST])
def test_a_save_that_fails_leaves_nothing_that_counts(config, tmp_path: Path, word: str) -> None:
    store = FailingStore(str(tmp_path), tmp_path)
    save(store, config, 10)
    store.word = word
    with pytest.raises(OSError, match="no space"):
        save(store, config, 20)
    assert steps_on(store) == [10]
    store.word = ""
    save(store, config, 20)
    assert steps_on(store) == [10, 20]


def test_incomplete_leftovers_are_removed_by_the_next_save(config, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put(f"{FOLDER}/step-00000005/dead/rank-00000/weights.pt", b"half")
    save(store, config, 10)
    assert not store.list(f"{FOLDER}/step-00000005/")


def test_load_model_gives_the_saved_weights(config, tmp_path: Path) -> None:
    save(open_store(str(tmp_path)), config, 10, 20)
    wanted = FakeEngine(config).weights()
    for url, step in ((str(tmp_path), 20), (f"{tmp_path}/{FOLDER}/step-00000010", 10)):
        loaded = load_model(url)
        assert loaded.step == step
        assert loaded.config == config
        assert not loaded.model.training
        for name, value in loaded.model.state_dict().items():
            assert torch.equal(value, wanted[name])


def test_absent_checkpoints_are_named(config, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no complete checkpoint"):
        load_model(str(tmp_path))
    save(open_store(str(tmp_path)), config, 10)
    for tail in ("00000011", "last"):
        with pytest.raises(ValueError, match=r"have steps \[10\]"):
            load_model(f"{tmp_path}/{FOLDER}/step-{tail}")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("weights.pt", flip),
        ("weights.pt", truncate),
        ("weights.pt", Path.unlink),
        (MANIFEST, truncate),
        (MANIFEST, lambda path: path.write_text("{}")),
    ],
)
def test_damage_is_told_with_the_file_and_what_to_delete(
    config, tmp_path: Path, name: str, harm: Callable[[Path], object]
) -> None:
    save(open_store(str(tmp_path)), config, 10, 20)
    folder = tmp_path / FOLDER / "step-00000020"
    path = next(folder.rglob(name))
    harm(path)
    with pytest.raises(StorageError) as told:
        load_model(str(tmp_path))
    assert str(told.value).startswith(f"{path}: ")
    assert f"delete {folder} to go on from an earlier checkpoint" in str(told.value)
    shutil.rmtree(folder)
    assert load_model(str(tmp_path)).step == 10


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_not_saved(
    config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    store, local = open_store(str(tmp_path / "run")), tmp_path / "local"
    local.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(local))
    save(store, config, 10)
    engine = FakeEngine(config)
    name, last = list(engine.net.named_parameters())[-1]
    with torch.no_grad():
        last.view(-1)[-1] = value
    saver = Saver(store, config, ALONE, "revision")
    with pytest.raises(FloatingPointError, match=f"{name} is not finite after step 20: the weights are not"):
        saver.save(engine, 20, PROGRESS)
    saver.wait()
    assert steps_on(store) == [10]
    assert not list(local.iterdir()), "nothing is left on the local disk"
