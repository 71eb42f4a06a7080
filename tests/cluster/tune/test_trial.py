"""A trial between a run that is not there and a real umpire: what it offers, when it stops, what it fails of."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from cluster import ray_settings, training
from cluster.stop import Stop
from cluster.tune import trial
from cluster.tune.choosers import chooser_of
from cluster.tune.judges import Judge, judge_of
from cluster.tune.plan import Plan
from cluster.tune.record import Record
from cluster.tune.trial import Errand, run_trial
from cluster.tune.umpire import Umpire
from data_shards.mistake import UserError
from data_shards.storage.place import open_store
from monitoring.run_state import RunState
from tests.cluster.tune.plans import plan_to
from trainer.checkpoints.checkpoint import Checkpoint, manifest_text, steps_on

Report = Callable[[dict[str, Any]], None]


class Handle:
    """An umpire in this process, called as Ray's handle would be."""

    def __init__(self, umpire: Umpire) -> None:
        self._umpire = umpire

    def __getattr__(self, name: str) -> Any:
        return type("Method", (), {"remote": staticmethod(getattr(self._umpire, name))})


class StopsAt(Judge):
    """Stops every trial at one step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def goes_on(self, number: int, step: int, score: float) -> bool:
        return step < self._step


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda value, timeout=None: value)
    monkeypatch.setattr(trial, "_POLL_S", 0.01)
    monkeypatch.setattr(ray_settings, "apply_to_trial", lambda config: None)


class Runs:
    """In place of cluster.training: each run reports a score every ten steps until it is stopped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outputs: list[str] = []
        self.metric, self.fails_after = "psnr", 0
        monkeypatch.setattr(training, "train", self.train)

    def train(self, config: Any, *, report: Report, stop: Stop, **_: Any) -> RunState:
        self.outputs.append(Path(config.output).name)
        for step in range(10, config.steps + 1, 10):
            report({"step": step, "loss": 1.0})
            report({"step": step, "scores": {self.metric: 20.0 + step}})
            if self.fails_after == step:
                raise FloatingPointError(f"loss is nan at step {step + 1}")
            if stop.asked.wait(0.1):
                return RunState.INTERRUPTED
        return RunState.FINISHED


def errand(plan: Plan, judge: Judge | None = None) -> tuple[Umpire, Errand]:
    umpire = Umpire(plan, judge or judge_of(plan), chooser_of(plan), Record(plan.config.output))
    return umpire, Errand(plan, Handle(umpire), embedded=True, folder=None, targets=None)


def one(tmp_path: Path, *words: str) -> Plan:
    return plan_to(str(tmp_path), *words, trials=1, at_once=1)


def test_every_score_is_offered_and_the_last_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch)
    umpire, given = errand(one(tmp_path))
    run_trial({"number": 0}, given)
    assert umpire.entrant(0).scores == {step: 20.0 + step for step in range(10, 81, 10)}
    assert (umpire.entrant(0).state, runs.outputs) == ("finished", ["trial-00"])


def test_a_trial_that_is_behind_is_asked_to_save_and_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Runs(monkeypatch)
    umpire, given = errand(one(tmp_path), StopsAt(30))
    run_trial({"number": 0}, given)
    assert (umpire.entrant(0).state, umpire.entrant(0).step) == ("stopped", 30)


def test_what_was_measured_before_a_kill_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(monkeypatch)
    lines = [{"step": step, "scores": {"psnr": 1.0 * step}} for step in range(10, 81, 10)]
    (tmp_path / "trial-00").mkdir()
    (tmp_path / "trial-00" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    umpire, given = errand(one(tmp_path))
    run_trial({"number": 0}, given)
    assert (umpire.entrant(0).state, umpire.entrant(0).score, runs.outputs) == ("finished", 80.0, [])


def test_what_was_measured_before_a_failure_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch)
    runs.fails_after = 20
    umpire, given = errand(one(tmp_path))
    run_trial({"number": 0}, given)
    assert umpire.entrant(0).scores == {10: 30.0, 20: 40.0}
    assert (umpire.entrant(0).state, umpire.entrant(0).why) == ("failed", "loss is nan at step 21")


def test_a_score_that_is_not_measured_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch)
    runs.metric = "mse"
    umpire, given = errand(one(tmp_path))
    run_trial({"number": 0}, given)
    assert umpire.entrant(0).why == "--metric val/psnr: it is not measured; have mse"


def test_a_mistake_is_told_in_its_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: Any, **__: Any) -> RunState:
        raise UserError("field scaling.num_workers: no room for 1 workers within 20 s")

    monkeypatch.setattr(training, "train", train)
    umpire, given = errand(one(tmp_path))
    run_trial({"number": 0}, given)
    assert umpire.entrant(0).why == "field scaling.num_workers: no room for 1 workers within 20 s"


def test_a_trial_that_takes_anothers_place_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(monkeypatch)
    donor = open_store(str(tmp_path / "trial-01"))
    config = one(tmp_path).config.run().model_dump(mode="json")
    saved = Checkpoint(20, 1, 0, "a", config, "", "", {}, files={"a/rank-00000/weights.pt": (7, "0" * 64)})
    donor.put(f"{saved.folder}/a/rank-00000/weights.pt", b"weights")
    donor.put(f"{saved.folder}/checkpoint.json", manifest_text(saved))
    umpire, given = errand(one(tmp_path))
    entrant = umpire.entrant(0)
    entrant.take, entrant.source, entrant.source_step, entrant.step = 1, "trial-01", 20, 20
    run_trial({"number": 0}, given)
    assert (runs.outputs, entrant.why) == (["trial-00-take-1"], "")
    assert steps_on(open_store(str(tmp_path / "trial-00-take-1"))) == [20]
    assert (
        tmp_path / "trial-00-take-1" / saved.folder / "a/rank-00000/weights.pt"
    ).read_bytes() == b"weights"
    assert min(entrant.scores) == 30  # what the other had at 20 is its own
