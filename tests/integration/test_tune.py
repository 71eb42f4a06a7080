"""A sweep on an embedded Ray, as a user starts it: killed, it comes to what it would have come to."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster.rehearsal.processes import Program, wait_until
from cluster.tune.record import EVENTS
from tests.launch import TINY, lines
from trainer.overrides import resolve

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(900)]

RATE = ("--space", "optim.lr=loguniform(1e-4,1e-2)", "--metric", "val/psnr")


class Sweep(Program):
    """One `python -m cluster tune`. A context manager: nothing of it is left behind."""

    def __init__(self, output: Path, words: Sequence[str], data: str) -> None:
        self.output = output
        shorter = ["steps=20", "evaluation.steps=5", "log_steps=5", f"data.url={data}", f"output={output}"]
        command = [sys.executable, "-m", "cluster", "tune", "demo", *TINY, *shorter, *words]
        given = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        given |= {"TORCH_EXTENSIONS_DIR": str(output.parent / "extensions"), "CUDA_VISIBLE_DEVICES": ""}
        output.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(command, output.parent / f"{output.name}.log", given)

    def __enter__(self) -> "Sweep":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_family(15)

    def wait(self, timeout: float = 600) -> int:
        return self.process.wait(timeout)

    def wait_for_results(self, count: int, timeout: float = 300) -> None:
        wait_until(lambda: len(results(self.output)) >= count, [self], timeout, 0.1)


def events(output: Path) -> list[dict[str, Any]]:
    path = output / EVENTS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def results(output: Path) -> list[dict[str, Any]]:
    return [event for event in events(output) if "score" in event]


def test_a_killed_sweep_comes_to_the_same_decisions_and_leaves_a_recipe(
    tiny_set: str, tmp_path: Path
) -> None:
    words = [*RATE, "--trials", "2", "--schedule", "asha", "--reduction", "2"]
    with Sweep(tmp_path / "sweep", words, tiny_set) as killed:
        killed.wait_for_results(2)
        killed.kill()
        before = events(killed.output)
    with Sweep(tmp_path / "sweep", words, tiny_set) as again:
        assert again.wait() == 0, again.said()
    assert "going on after" in again.said()
    assert events(again.output)[: len(before)] == before
    assert "Traceback" not in again.said()
    states = {event["then"] for event in results(again.output)}
    assert states >= {"goes on", "finished"}
    best = json.loads((again.output / "best.json").read_text())
    recipe = resolve(None, file=str(again.output / "best.json"))
    begun = [event for event in events(again.output) if "began" in event]
    assert recipe.optim.lr == begun[int(best["trial"].removeprefix("trial-"))]["values"]["optim.lr"]
    # What was decided is what the runs have measured.
    for event in results(again.output):
        measured = lines(again.output / f"trial-{event['trial']:02d}")
        assert event["score"] in [line["scores"]["psnr"] for line in measured if "scores" in line]
    assert "Parallel coordinates of optim.lr" in (again.output / "report.html").read_text()


def test_a_trial_without_a_place_fails_with_the_reason(tiny_set: str, tmp_path: Path) -> None:
    words = [*RATE, "--trials", "1", "scaling.use_gpu=true"]
    with Sweep(tmp_path / "sweep", words, tiny_set) as sweep:
        assert sweep.wait() == 1, sweep.said()
    assert "trial 0 has failed: field scaling.num_workers: no room for 1 workers within 20 s" in sweep.said()
    assert "bundle_group" not in sweep.said()
    assert "Traceback" not in sweep.said()
