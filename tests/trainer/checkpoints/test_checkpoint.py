"""A checkpoint is complete or absent, the newest complete one is found, damage is noticed."""

import json
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from data_shards.storage.folder import FolderStore
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError, Store
from tests.data_shards.test_scratch import left_by_a_dead_process
from trainer.checkpoints import checkpoint, load
from trainer.checkpoints.checkpoint import CONFIG, FOLDER, MANIFEST, SCHEMA, newest, read_checkpoint, steps_on
from trainer.checkpoints.load import load_model
from trainer.checkpoints.saver import Saver
from trainer.config import RunConfig
from trainer.engine import Engine
from trainer.overrides import resolve
from trainer.process_group import ProcessGroup

ALONE = ProcessGroup(0, 1, 0, torch.device("cpu"))
PROGRESS = {"first_start": 1.0, "seconds": {}, "restarts": 0}


class FakeEngine(Engine):
    """Writes a file as DeepSpeed would; holds the weights of a real model."""

    def __init__(self, config: RunConfig) -> None:
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
def config(tmp_path: Path) -> RunConfig:
    return resolve("demo", [f"output={tmp_path}", "checkpoint.keep=2"])


def save(store: Store, config: RunConfig, *steps: int) -> None:
    saver = Saver(store, config, ALONE, "revision")
    for step in steps:
        saver.save(FakeEngine(config), step, PROGRESS)
    saver.finish()


def test_newest_is_found_and_older_are_pruned(config: RunConfig, tmp_path: Path) -> None:
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
def test_a_save_that_fails_leaves_nothing_that_counts(config: RunConfig, tmp_path: Path, word: str) -> None:
    store = FailingStore(str(tmp_path), tmp_path)
    save(store, config, 10)
    store.word = word
    with pytest.raises(OSError, match="no space"):
        save(store, config, 20)
    assert steps_on(store) == [10]
    store.word = ""
    save(store, config, 20)
    assert steps_on(store) == [10, 20]


def test_incomplete_leftovers_are_removed_by_the_next_save(config: RunConfig, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put(f"{FOLDER}/step-00000005/dead/rank-00000/weights.pt", b"half")
    save(store, config, 10)
    assert not store.list(f"{FOLDER}/step-00000005/")


def test_load_model_gives_the_saved_weights(config: RunConfig, tmp_path: Path) -> None:
    save(open_store(str(tmp_path)), config, 10, 20)
    wanted = FakeEngine(config).weights()
    for url, step in ((str(tmp_path), 20), (f"{tmp_path}/{FOLDER}/step-00000010", 10)):
        loaded = load_model(url)
        assert loaded.step == step
        assert loaded.config == config
        assert not loaded.model.training
        for name, value in loaded.model.state_dict().items():
            assert torch.equal(value, wanted[name])


def test_absent_checkpoints_are_named(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no complete checkpoint"):
        load_model(str(tmp_path))
    save(open_store(str(tmp_path)), config, 10)
    for tail in ("00000011", "last"):
        with pytest.raises(ValueError, match=r"have steps \[10\]"):
            load_model(f"{tmp_path}/{FOLDER}/step-{tail}")


def renumber(path: Path, schema: object) -> None:
    """Give a manifest another schema, None = one of before there were numbers."""
    tree = json.loads(path.read_text()) | {"schema": schema}
    tree.pop("sum", None)
    if schema is None:
        del tree["schema"]
    path.write_text(json.dumps(tree))


def test_a_manifest_says_its_schema_and_one_without_is_read(config: RunConfig, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    save(store, config, 10)
    path = tmp_path / FOLDER / "step-00000010" / MANIFEST
    assert json.loads(path.read_text())["schema"] == SCHEMA
    now = read_checkpoint(store, 10)
    renumber(path, None)
    before = read_checkpoint(store, 10)
    assert before.schema == 0
    assert vars(before) | {"schema": SCHEMA} == vars(now)
    assert load_model(str(tmp_path)).step == 10


def test_a_schema_of_a_later_version_is_refused_in_a_sentence(config: RunConfig, tmp_path: Path) -> None:
    save(open_store(str(tmp_path)), config, 10)
    path = tmp_path / FOLDER / "step-00000010" / MANIFEST
    renumber(path, SCHEMA + 1)
    path.write_text(path.read_text().replace('"zero_stage"', '"zero"'))  # whatever else it has changed
    told = (
        f"{path}: is of schema {SCHEMA + 1}, saved by a later version (revision revision), and this one reads up to "
        f"{SCHEMA}; use that version, or start in another output"
    )
    for read in (lambda: load_model(str(tmp_path)), lambda: newest(open_store(str(tmp_path)))):
        with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
            read()
    renumber(path, "two")
    with pytest.raises(StorageError, match="is no manifest of a checkpoint"):
        newest(open_store(str(tmp_path)))


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
    config: RunConfig, tmp_path: Path, name: str, harm: Callable[[Path], object]
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
    config: RunConfig, tmp_path: Path, local: Path, value: float
) -> None:
    store = open_store(str(tmp_path / "run"))
    save(store, config, 10)
    engine = FakeEngine(config)
    name, last = list(engine.net.named_parameters())[-1]
    with torch.no_grad():
        last.view(-1)[-1] = value
    saver = Saver(store, config, ALONE, "revision")
    with pytest.raises(FloatingPointError, match=f"{name} is not finite after step 20: the weights are not"):
        saver.save(engine, 20, PROGRESS)
    saver.finish()
    assert steps_on(store) == [10]
    assert not list(local.iterdir()), "nothing is left on the local disk"


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's folder for what is temporary, empty."""
    folder = tmp_path / "local"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_save_is_tried_although_the_one_before_has_failed(
    config: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FailingStore(str(tmp_path), tmp_path)
    complete: list[int] = []
    saver = Saver(store, config, ALONE, "revision", saved=lambda step, *_: complete.append(step))
    store.word = "step-00000010"
    saver.save(FakeEngine(config), 10, PROGRESS)
    saver.save(FakeEngine(config), 20, PROGRESS)
    (warning,) = told(caplog)
    assert warning.startswith("the save of step 10 failed on rank 0 (OSError: no space for ")
    saver.require()
    saver.finish()
    assert steps_on(store) == complete == [20]


def test_what_comes_before_a_checkpoint_comes_before_it_is_complete(
    config: RunConfig, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path))
    seen: list[list[int]] = []
    saver = Saver(store, config, ALONE, "revision", before=lambda: seen.append(steps_on(store)))
    for step in (10, 20):
        saver.save(FakeEngine(config), step, PROGRESS)
    saver.finish()
    assert seen == [[], [10]]
    assert steps_on(store) == [10, 20]


def test_two_saves_in_a_row_that_fail_end_the_run_but_not_the_saving(
    config: RunConfig, tmp_path: Path
) -> None:
    store = FailingStore(str(tmp_path), tmp_path)
    saver = Saver(store, config, ALONE, "revision")
    store.word = FOLDER
    saver.save(FakeEngine(config), 10, PROGRESS)
    saver.settle()
    saver.require()
    saver.save(FakeEngine(config), 20, PROGRESS)
    saver.settle()
    with pytest.raises(OSError, match="step-00000020"):
        saver.require()
    store.word = ""
    saver.save(FakeEngine(config), 30, PROGRESS)
    saver.finish()
    saver.require()
    assert steps_on(store) == [30]


@dataclass
class Meeting:
    """Where two threads that play ranks meet."""

    barrier: threading.Barrier
    rows: list[torch.Tensor | str | None]


@dataclass(frozen=True)
class Rank(ProcessGroup):
    """One of two ranks that are threads of this process."""

    meeting: Meeting

    def _exchange(self, mine: torch.Tensor | str) -> list[Any]:
        self.meeting.rows[self.rank] = mine
        self.meeting.barrier.wait(30)
        rows = list(self.meeting.rows)
        self.meeting.barrier.wait(30)
        return rows

    def total(self, values: torch.Tensor) -> torch.Tensor:
        return torch.stack(self._exchange(values)).sum(0)

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        return torch.stack(self._exchange(values))

    def same(self, text: str, source: int = 0) -> str:
        return str(self._exchange(text)[source])


def on_two_ranks(work: Callable[[Rank], object]) -> list[object]:
    """What `work` returned or raised on each."""
    meeting = Meeting(threading.Barrier(2), [None, None])

    def guarded(rank: int) -> object:
        try:
            return work(Rank(rank, 2, rank, torch.device("cpu"), meeting))
        except Exception as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(guarded, range(2)))


def test_an_upload_that_fails_on_one_rank_is_given_up_by_all_and_tried_again(
    config: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FailingStore(str(tmp_path), tmp_path)
    store.word = "step-00000010/x/rank-00001/"
    complete: dict[int, list[tuple[int, int]]] = {0: [], 1: []}

    def work(group: Rank) -> None:
        saver = Saver(
            store,
            config,
            group,
            "revision",
            saved=lambda step, _, size: complete[group.rank].append((step, size)),
        )
        saver.attempt = "x"
        saver.save(FakeEngine(config), 10, PROGRESS)
        saver.save(FakeEngine(config), 20, PROGRESS)
        saver.require()
        saver.finish()

    started = time.monotonic()
    assert on_two_ranks(work) == [None, None]
    assert time.monotonic() - started < config.checkpoint.deadline_s / 10
    (warning,) = told(caplog)
    assert warning.startswith("the save of step 10 failed on rank 1 (OSError: no space for ")
    assert steps_on(store) == [20]
    files = read_checkpoint(store, 20).files
    assert {name.split("/")[1] for name in files} == {"rank-00000", "rank-00001"}
    size = sum(size for size, _ in files.values())
    assert complete == {0: [(20, size)], 1: [(20, size)]}, "once, on every rank, the bytes of both"


def test_a_last_save_that_fails_on_one_rank_ends_all(config: RunConfig, tmp_path: Path) -> None:
    store = FailingStore(str(tmp_path), tmp_path)
    store.word = "rank-00001/"

    def work(group: Rank) -> None:
        saver = Saver(store, config, group, "revision")
        saver.save(FakeEngine(config), 10, PROGRESS)
        saver.finish()

    first, second = on_two_ranks(work)
    assert isinstance(first, RuntimeError)
    assert "the save of step 10 failed on rank 1 (OSError: no space for " in str(first)
    assert isinstance(second, OSError)


def test_a_rank_that_fails_waits_for_no_other(config: RunConfig, tmp_path: Path, local: Path) -> None:
    group = ProcessGroup(0, 2, 0, torch.device("cpu"))

    class First(ProcessGroup):
        def same(self, text: str, source: int = 0) -> str:
            return text

    store = open_store(str(tmp_path / "run"))
    saver = Saver(store, config, First(**vars(group)), "revision")
    saver.save(FakeEngine(config), 10, PROGRESS)
    upload = saver._upload
    assert upload is not None
    upload.join(0.3)
    assert upload.running, "it waits for the part of rank 1"
    saver.abandon()
    upload.join(10)
    assert not upload.running
    assert steps_on(store) == []
    assert not list(local.iterdir())


def test_an_abandoned_upload_that_needs_nobody_is_completed(config: RunConfig, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    saver = Saver(store, config, ALONE, "revision")
    saver.save(FakeEngine(config), 10, PROGRESS)
    saver.abandon()
    saver.finish()
    assert steps_on(store) == [10]


def test_a_stored_size_that_differs_makes_no_checkpoint(config: RunConfig, tmp_path: Path) -> None:
    class Truncating(FolderStore):
        def put(self, name: str, source: bytes | Path, if_absent: bool = False) -> None:
            if name.endswith("weights.pt") and isinstance(source, Path):
                source = source.read_bytes()[:-1]
            super().put(name, source, if_absent)

    with pytest.raises(
        StorageError, match=r"weights\.pt: its stored size differs from the \d+ bytes written"
    ):
        save(Truncating(str(tmp_path), tmp_path), config, 10)
    assert steps_on(open_store(str(tmp_path))) == []


def test_what_others_put_beside_checkpoints_is_neither_read_nor_deleted(
    config: RunConfig, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path))
    theirs = [".DS_Store", "best/checkpoint.json", "step-5/checkpoint.json", "step-000000005/checkpoint.json"]
    theirs += ["notes", "step-last/a"]
    for name in theirs:
        store.put(f"{FOLDER}/{name}", b"theirs")
    assert newest(store) is None
    save(store, config, 10, 20, 30)
    assert steps_on(store) == [20, 30]
    assert all(store.exists(f"{FOLDER}/{name}") for name in theirs)


def test_a_step_has_eight_digits_or_more() -> None:
    for step in (0, 7, 99_999_999, 100_000_000):
        assert checkpoint.step_of(f"{FOLDER}/step-{step:08d}/x") == step


def test_a_later_start_of_a_run_ends_the_saves_of_an_earlier_one(config: RunConfig, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    saver = Saver(store, config, ALONE, "revision")
    store.put(CONFIG, b'{"attempt": "%s"}' % saver.attempt.encode())
    saver.save(FakeEngine(config), 10, PROGRESS)
    saver.finish()
    store.put(CONFIG, b'{"attempt": "later"}')
    saver.save(FakeEngine(config), 20, PROGRESS)
    with pytest.raises(ValueError, match=f"^{tmp_path}: another process has started this run since"):
        saver.finish()
    assert steps_on(store) == [10]


def prune_before_reading(store: Store, config: RunConfig, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The run saves `step`, and prunes, between a reader's look at the manifest and its read of the weights."""
    read = checkpoint.download

    def late(*arguments: Any) -> Path:
        monkeypatch.setattr(load, "download", read)
        save(store, config, step)
        return read(*arguments)

    monkeypatch.setattr(load, "download", late)


def test_a_reader_of_a_step_is_told_that_the_run_has_pruned_it(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    save(store, config, 10, 20)
    prune_before_reading(store, config, monkeypatch, 30)
    with pytest.raises(
        ValueError, match=r"was deleted while it was read, as a run .*; have steps \[20, 30\]$"
    ):
        load_model(f"{tmp_path}/{FOLDER}/step-00000010")


def test_a_reader_of_the_newest_gets_the_one_that_has_taken_its_place(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    config = config.model_copy(update={"checkpoint": config.checkpoint.model_copy(update={"keep": 1})})
    save(store, config, 10)
    prune_before_reading(store, config, monkeypatch, 20)
    assert load_model(str(tmp_path)).step == 20


def test_a_start_removes_what_a_kill_has_left(config: RunConfig, tmp_path: Path, local: Path) -> None:
    left_by_a_dead_process("save")
    Saver(open_store(str(tmp_path / "run")), config, ALONE, "revision")
    assert not list(local.iterdir())
