"""What a run tells: exact values of its series, starts that are counted, runs side by side told from each other."""

import json
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from data_shards.loader import Counters
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError
from monitoring.heartbeat import Heart
from monitoring.run_state import Past, RunState, Timeline
from tests.clips import build_numbered
from tests.launch import TINY, lines
from trainer import loop
from trainer.journal import run_name
from trainer.loop import train
from trainer.overrides import resolve
from trainer.process_group import ProcessGroup
from trainer.revision import code_revision
from trainer.starts import STARTS, begun
from trainer.telemetry import Telemetry

LINE = {
    "step": 10,
    "time": 0.0,
    "loss": 0.5,
    "terms": {"reconstruction": 0.25, "slot_active": 2.0},
    "lr": 1e-3,
    "gradient_norm": 3.0,
    "epoch": 0.125,
    "step_s": 0.5,
    "samples_per_s": 64.0,
}


def telemetry_of(output: Path, rank: int = 0, timeline: Timeline | None = None) -> Telemetry:
    group = ProcessGroup(rank, 2, rank, torch.device("cpu"))
    config = resolve("demo", [f"output={output}", "data.url=set", "monitoring.port=null", "steps=100"])
    return Telemetry(config, group, timeline or Timeline.begin(), None)


def value(telemetry: Telemetry, name: str, rank: int = 0, **labels: str) -> float | None:
    base = {"run": run_name(telemetry._config.output), "rank": str(rank)}
    return telemetry._exporter.registry.get_sample_value(f"commonfate_{name}", {**base, **labels})


def test_every_step_counts_once(tmp_path: Path) -> None:
    telemetry = telemetry_of(tmp_path)
    for _ in range(3):
        telemetry.step(0.25, {"forward": 0.5, "backward": 1.0}, clips=4)
    assert value(telemetry, "samples_total") == 12.0
    assert value(telemetry, "data_wait_seconds_total") == 0.75
    assert value(telemetry, "step_seconds_count") == 3.0
    assert value(telemetry, "step_seconds_sum") == 3 * 1.75
    phases = {"data": 0.75, "forward": 1.5, "backward": 3.0}
    assert {p: value(telemetry, "step_phase_seconds_sum", phase=p) for p in phases} == phases


def test_time_that_steps_wait_for_data_is_not_productive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("monitoring.run_state.time.time", lambda: now)
    telemetry = telemetry_of(tmp_path)
    now = 110.0
    telemetry.begin(0)
    telemetry.step(5.0, {}, clips=4)
    now = 130.0
    telemetry.interval(dict(LINE), 0.0, 0.0, Counters())
    telemetry.close()
    spent = {
        a: value(telemetry, "run_activity_seconds", activity=a)
        for a in ("starting", "productive", "data_wait")
    }
    assert spent == {"starting": 10.0, "productive": 15.0, "data_wait": 5.0}
    assert value(telemetry, "goodput_ratio") == 0.5
    assert lines(tmp_path)[0]["goodput"] == 0.5


def test_an_interval_is_exported_and_written_as_it_is(tmp_path: Path) -> None:
    telemetry = telemetry_of(tmp_path)
    telemetry.begin(0)
    telemetry.interval(dict(LINE), flops=3e9, peak=24e9, counters=Counters(samples=8, bytes=100, retries=1))
    counters = Counters(samples=24, bytes=300, retries=1, damaged_samples=2)
    telemetry.interval(LINE | {"step": 20}, flops=3e9, peak=24e9, counters=counters)
    telemetry.close()
    names = ("step", "loss", "epoch", "gradient_norm", "learning_rate", "samples_per_second", "slot_active")
    assert [value(telemetry, name) for name in names] == [20.0, 0.5, 0.125, 3.0, 1e-3, 64.0, 2.0]
    assert value(telemetry, "loss_term", term="reconstruction") == 0.25
    assert value(telemetry, "model_flops_per_second") == 6e9
    assert value(telemetry, "model_flops_utilisation_ratio") == 0.25
    # Those of the loader are since the start of the process, whatever was told before.
    loader = ("samples", "bytes", "retries", "damaged_samples")
    assert [value(telemetry, f"loader_{name}_total") for name in loader] == [24.0, 300.0, 1.0, 2.0]
    written = lines(tmp_path)
    assert [line["step"] for line in written] == [10, 20]
    assert [line["mfu"] for line in written] == [0.25, 0.25]


def test_a_start_says_what_runs_and_what_is_planned(tmp_path: Path) -> None:
    telemetry = telemetry_of(tmp_path, rank=1)
    assert value(telemetry, "steps_planned", rank=1) is None
    telemetry.begin(40)
    planned = {"steps_planned": 100.0, "world_size": 2.0, "checkpoint_last_step": 40.0}
    assert {name: value(telemetry, name, rank=1) for name in planned} == planned
    config = telemetry._config
    assert value(telemetry, "checkpoint_interval", rank=1) == config.checkpoint.steps
    about = {"recipe": "demo", "revision": code_revision(), "digest": config.digest(), "world": "2"}
    assert value(telemetry, "run_info", rank=1, **about) == 1.0


def test_when_a_step_and_a_checkpoint_were_last_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("trainer.telemetry.time.time", lambda: now)
    telemetry = telemetry_of(tmp_path, rank=1)

    def times() -> tuple[float | None, float | None]:
        names = ("step_last_time_seconds", "checkpoint_last_time_seconds")
        step, checkpoint = (value(telemetry, name, rank=1) for name in names)
        return step, checkpoint

    assert times() == (None, None)
    telemetry.begin(0)
    assert times() == (100.0, 100.0)
    now = 110.0
    telemetry.step(0.0, {}, clips=4)
    assert times() == (110.0, 100.0)
    now = 120.0
    telemetry.saved(1, 2.0, 3)
    telemetry.enter(RunState.EVALUATING)
    assert times() == (110.0, 120.0)
    now = 500.0
    telemetry.enter(RunState.TRAINING)  # an evaluation of minutes is no step of minutes
    assert times() == (500.0, 120.0)


def test_disks_are_told_by_place(tmp_path: Path) -> None:
    telemetry = telemetry_of(tmp_path / "not" / "there", rank=1)
    telemetry.begin(0)
    telemetry.interval(dict(LINE), 0.0, 0.0, Counters())
    for place, folder in (("output", tmp_path), ("scratch", Path(tempfile.gettempdir()))):
        size = value(telemetry, "disk_size_bytes", rank=1, place=place)
        assert size == shutil.disk_usage(folder).total
        assert 0 < value(telemetry, "disk_free_bytes", rank=1, place=place) <= size
    assert not (tmp_path / "not").exists()


def test_every_start_that_trains_is_counted(tmp_path: Path) -> None:
    known = []
    for start in (0, 0, 10, 10):  # of which none saved
        telemetry = telemetry_of(tmp_path)
        assert value(telemetry, "restarts") is None
        telemetry.begin(start)
        known.append(value(telemetry, "restarts"))
        telemetry.close()
    assert known == [0.0, 1.0, 2.0, 3.0]
    began = sorted((tmp_path / STARTS).iterdir(), key=lambda path: int(path.name))
    assert [path.read_text() for path in began] == ["0", "0", "10", "10"]
    other = telemetry_of(tmp_path, rank=1)
    other.begin(10)
    assert value(other, "restarts", rank=1) is None
    assert len(list((tmp_path / STARTS).iterdir())) == 4
    telemetry_of(tmp_path / "refused").close()
    assert not (tmp_path / "refused").exists()


def test_a_start_that_is_killed_before_it_trains_leaves_its_trace(tmp_path: Path) -> None:
    store, group = open_store(str(tmp_path)), ProcessGroup(0, 1, 0, torch.device("cpu"))
    timeline, start = begun(store, None, 100, group, Heart(past=Past(submitted=time.time() - 50)))
    assert start is not None
    config = resolve("demo", [f"output={tmp_path}", "data.url=set", "monitoring.port=null"])
    telemetry = Telemetry(config, group, timeline, None, start=start)
    assert store.list("starts/") == {}, "it may still be refused"
    telemetry.admit()
    telemetry.close()  # here it was killed
    assert timeline.split()["starting"] == pytest.approx(50, abs=5)
    timeline, start = begun(store, None, 100, group, None)
    assert start is not None
    assert timeline.first_start == pytest.approx(time.time() - 50, abs=5)
    assert start.train(0) == 0, "the one before never began to train"
    assert len(list((tmp_path / STARTS).iterdir())) == 2
    assert begun(store, None, 100, ProcessGroup(1, 2, 1, torch.device("cpu")), None)[1] is None


def test_a_step_that_hung_is_not_productive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("monitoring.run_state.time.time", lambda: now)
    telemetry = telemetry_of(tmp_path)
    telemetry.begin(0)
    for seconds in (5.0, 1.0, 1.0, 61.0, 1.0):  # the first is never one to go by
        now += seconds
        telemetry.step(0.0, {"forward": seconds}, clips=4)
    telemetry.close()
    split = telemetry.timeline.split()
    assert (split["stalled"], split["productive"]) == (60.0, 9.0)


def test_a_journal_that_fails_hides_no_error_and_keeps_no_exporter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    targets = tmp_path / "targets"
    words = [f"output={tmp_path / 'run'}", "data.url=set", f"monitoring.targets={targets}"]
    group = ProcessGroup(0, 1, 0, torch.device("cpu"))
    for failure in (OSError(28, "No space left on device"), StorageError("s3://b/run", "access denied")):
        telemetry = Telemetry(resolve("demo", words), group, Timeline.begin(), None)
        telemetry.begin(0)
        assert len(list(targets.iterdir())) == 1

        def fail(failure: Exception = failure) -> None:
            raise failure

        assert telemetry._journal is not None
        monkeypatch.setattr(telemetry._journal, "close", fail)
        with pytest.raises(FloatingPointError, match="of the run"), closing(telemetry):
            raise FloatingPointError("of the run")
        assert list(targets.iterdir()) == []
        assert f"the journal of {tmp_path / 'run'} is not complete: {failure}" in caplog.text


@pytest.mark.usefixtures("alone")
def test_a_run_tells_its_samples_and_how_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Telemetry] = []
    entered: list[RunState] = []

    class Told(Telemetry):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

        def enter(self, state: RunState) -> None:
            super().enter(state)
            entered.append(state)

    monkeypatch.setattr(loop, "Telemetry", Told)
    data = str(tmp_path / "set")
    build_numbered(data, 12, size=16, channels=3)
    words = [*TINY, f"data.url={data}", "steps=3", "checkpoint.steps=3", "data.ahead=1"]
    config = resolve("demo", [*words, f"output={tmp_path / 'good'}"])
    train(config)
    assert value(made[0], "samples_total") == 3 * 4
    assert value(made[0], "step_seconds_count") == 3.0
    assert value(made[0], "loader_samples_total") == 12.0
    assert value(made[0], "run_state", state="finished") == 1.0
    starting, training, *_, last = entered
    assert (starting, training, last) == (RunState.STARTING, RunState.TRAINING, RunState.FINISHED)

    def fail(line: dict[str, Any]) -> None:
        raise FloatingPointError("found by the test")

    with pytest.raises(FloatingPointError, match="by the test"):
        train(resolve("demo", [*words, f"output={tmp_path / 'bad'}"]), report=fail)
    assert entered[-1] is RunState.FAILED
    assert value(made[1], "run_state", state="failed") == 1.0
    assert value(made[1], "run_state", state="training") == 0.0


def test_a_run_is_named_by_all_of_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = run_name("demo/run")
    assert (
        name
        == run_name("demo/run/")
        == run_name(f"{tmp_path}/demo/run")
        == run_name(f"file://{tmp_path}/demo/run")
    )
    stem, _, digits = name.rpartition("-")
    assert (stem, len(digits)) == ("run", 6)
    assert run_name("s3://bucket/demo/run/") == run_name("s3://bucket/demo/run")
    others = ["other/run", "s3://bucket/demo/run", "s3://bucket/other/run", "demo/run2"]
    assert len({name, *map(run_name, others)}) == 5
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_name("demo/run") != name


def test_runs_of_one_last_folder_share_a_folder_of_targets(tmp_path: Path) -> None:
    group, targets = ProcessGroup(0, 1, 0, torch.device("cpu")), tmp_path / "targets"

    def started(output: Path) -> Telemetry:
        words = [f"output={output}", f"monitoring.targets={targets}", "data.url=set"]
        return Telemetry(resolve("demo", words), group, Timeline.begin(), None)

    first, second = started(tmp_path / "demo" / "run"), started(tmp_path / "other" / "run")
    assert len(list(targets.iterdir())) == 2
    first.close()
    (left,) = targets.iterdir()
    assert left.name == f"{run_name(str(tmp_path / 'other' / 'run'))}-rank-0.json"
    assert json.loads(left.read_text())[0]["targets"]
    second.close()
    assert list(targets.iterdir()) == []


def test_a_folder_of_targets_may_be_a_file_url_and_no_bucket(tmp_path: Path) -> None:
    words = [f"output={tmp_path}/run", "data.url=set", f"monitoring.targets=file://{tmp_path}/targets"]
    telemetry = Telemetry(
        resolve("demo", words), ProcessGroup(0, 1, 0, torch.device("cpu")), Timeline.begin(), None
    )
    assert len(list((tmp_path / "targets").iterdir())) == 1
    telemetry.close()
    with pytest.raises(ValueError, match=r"^field monitoring\.targets: .*s3://bucket/targets.*name a folder"):
        resolve("demo", ["data.url=set", "monitoring.targets=s3://bucket/targets"])
