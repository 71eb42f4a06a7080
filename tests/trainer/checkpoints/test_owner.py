"""The latest start of a run has it; one before ends with a sentence before it writes more."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_shards.storage.folder import FolderStore
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError
from tests.clips import build_numbered
from tests.launch import TINY, lines, losses
from trainer.checkpoints import owner
from trainer.checkpoints.checkpoint import CONFIG, steps_on
from trainer.checkpoints.owner import Lookout, TakenOver, claim, successor
from trainer.config import RunConfig
from trainer.journal import Journal
from trainer.loop import Result, train
from trainer.overrides import resolve


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("clips") / "set")
    build_numbered(url, 8, size=16, channels=3)
    return url


def config_of(run: Path, data: str, *words: str) -> RunConfig:
    return resolve("demo", [*TINY, f"data.url={data}", f"output={run}", *words])


def go(run: Path, data: str, read: Callable[[dict[str, Any]], None] | None, *words: str) -> Result:
    return train(config_of(run, data, *words), report=read)


@pytest.mark.usefixtures("alone")
def test_a_second_start_takes_over_and_the_first_ends_before_its_next_line(data: str, tmp_path: Path) -> None:
    run, second = tmp_path / "run", []

    def read(line: dict[str, Any]) -> None:
        if line["step"] == 3:  # the first has logged step 3 and goes on from there
            second.append(go(run, data, None, "steps=6", "checkpoint.steps=2"))

    with pytest.raises(TakenOver) as told:
        go(run, data, read, "steps=1000", "checkpoint.steps=2")
    assert str(told.value).startswith(f"{run}: another process has started this run since (process ")
    assert str(told.value).endswith("), and it alone goes on; to train both, give one another output")
    assert [result.step for result in second] == [6]
    assert [line["step"] for line in lines(run)] == [1, 2, 3, 4, 5, 6], "the second's, from step 2 on"
    assert steps_on(open_store(str(run))) == [4, 6]
    attempts = {p.parent.parent.name for p in run.rglob("weights.pt")}
    assert attempts == {json.loads((run / CONFIG).read_text())["attempt"]}


@pytest.mark.usefixtures("alone")
def test_what_a_kill_has_left_holds_up_nobody(data: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    go(run, data, None, "steps=1")
    # As a process of this machine that still lives would have left it.
    claim(open_store(str(run)), config_of(run, data), "revision", "before")
    started = time.monotonic()
    assert go(run, data, None, "steps=2").step == 2
    assert time.monotonic() - started < 20
    assert sorted(losses(run)) == [1, 2]


def test_a_successor_is_named(data: str, tmp_path: Path) -> None:
    store, config = open_store(str(tmp_path)), config_of(tmp_path, data)
    assert successor(store, "first") == ""
    claim(store, config, "revision", "first")
    assert successor(store, "first") == ""
    claim(store, config, "revision", "second")
    assert successor(store, "second") == ""
    described = json.loads((tmp_path / CONFIG).read_text())
    assert f"(process {described['process']} on {described['host']})" in successor(store, "first")
    for text in ("", "[]", "{}"):
        (tmp_path / CONFIG).write_text(text)
        assert successor(store, "first") == "", "who cannot be read has not followed"


def test_no_step_waits_for_a_store_that_is_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, out = threading.Event(), True

    class Slow(FolderStore):
        def read(self, name: str, *arguments: Any, **options: Any) -> bytes:
            answer.wait(30)
            if out:
                raise StorageError(self.url, "no answer")
            return b'{"attempt": "second"}'

    monkeypatch.setattr(owner, "open_store", lambda url, deadline: Slow(url, tmp_path))
    lookout = Lookout(str(tmp_path), "first")
    started = time.monotonic()
    assert lookout.words() == ""
    assert lookout.words() == ""
    assert time.monotonic() - started < 2
    answer.set()
    assert lookout.words() == "", "an outage is no successor"
    out = False
    assert "another process has started this run since" in lookout.words()
    lookout.close()


def test_a_journal_that_is_disowned_uploads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uploaded: list[str] = []
    monkeypatch.setattr("trainer.journal.run_lines", lambda run: [])
    monkeypatch.setattr(
        "data_shards.storage.bucket.BucketStore.put", lambda store, name, path: uploaded.append(name)
    )
    for disowned in (False, True):
        journal = Journal("s3://bucket/run", 0)
        journal.write({"step": 1, "time": 0.0, "loss": 1.0})
        if disowned:
            journal.disown()
        journal.close()
        assert bool(uploaded) is not disowned
        uploaded.clear()
