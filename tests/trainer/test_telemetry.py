"""Runs side by side: each is told from the others, by its label and by its target."""

import json
from pathlib import Path

import pytest
import torch

from monitoring.run_state import Timeline
from trainer.journal import run_name
from trainer.overrides import resolve
from trainer.process_group import ProcessGroup
from trainer.telemetry import Telemetry


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
