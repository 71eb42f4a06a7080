"""Each alert fires at what it is for, alone, and is silent beside it: a real promtool evaluates the rules as they are.

A case is a healthy run of two ranks, some of whose series are replaced. Samples are 5 s apart, and steps 1 s.
"""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.catalogue import METRICS
from monitoring.dashboards.boards import names_in
from monitoring.rules.alerts import ALERTS
from monitoring.rules.recordings import RECORDINGS
from monitoring.rules.rule import rules_tree
from tests.conftest import require

LONG = 240  # samples: 20 minutes
TIME = f"0+5x{LONG}"  # what time() is
STOPPED = f"0+5x60 300x{LONG - 60}"  # the same, until minute 5

RANKS = ("0", "1")


def each(name: str, values: str, *, ranks: tuple[str, ...] = RANKS, **labels: str) -> dict[str, str]:
    """A series of ranks, by its selector."""
    label = "".join(f', {key}="{value}"' for key, value in labels.items())
    return {f'{name}{{run="r", rank="{rank}"{label}}}': values for rank in ranks}


def gib(first: float, each_sample: float, samples: int = LONG) -> str:
    return f"{first * 2**30:.0f}{each_sample * 2**30:+.0f}x{samples}"


HEALTHY = {
    **each("up", f"1x{LONG}", job="commonfate"),
    **each("commonfate_step", TIME),
    **each("commonfate_step_last_time_seconds", TIME),
    **each("commonfate_run_state", f"1x{LONG}", state="training"),
    **each("commonfate_run_state", f"0x{LONG}", state="saving"),
    **each("commonfate_world_size", f"2x{LONG}"),
    **each("commonfate_loss", f"1-0.001x{LONG}"),
    **each("commonfate_gradient_norm", f"1x{LONG}"),
    **each("commonfate_weights_divergence", f"0x{LONG}"),
    **each("commonfate_step_seconds_sum", TIME),
    **each("commonfate_step_seconds_count", TIME),
    **each("commonfate_step_phase_seconds_sum", f"0+2x{LONG}", phase="forward"),
    **each("commonfate_step_phase_seconds_count", TIME, phase="forward"),
    **each("commonfate_data_wait_seconds_total", f"0+0.5x{LONG}"),
    **each("commonfate_loader_retries_total", f"0x{LONG}"),
    **each("commonfate_run_activity_seconds", f"0+4.4x{LONG}", activity="productive"),
    **each("commonfate_run_activity_seconds", f"0+0.5x{LONG}", activity="data_wait"),
    **each("commonfate_run_activity_seconds", f"30x{LONG}", activity="starting"),
    **each("commonfate_run_activity_seconds", f"0+0.1x{LONG}", activity="evaluating"),
    **each("commonfate_checkpoint_last_step", TIME),
    **each("commonfate_checkpoint_last_time_seconds", TIME),
    **each("commonfate_checkpoint_interval", f"100x{LONG}"),
    **each("commonfate_disk_free_bytes", gib(500, -0.01), place="scratch"),
    **each("commonfate_disk_size_bytes", gib(1000, 0), place="scratch"),
    **each("commonfate_slot_active", f"2.5x{LONG}"),
    **each("commonfate_slot_mask_area_ratio", f"0.2x{LONG}"),
    **each("commonfate_slot_duplicate_iou_ratio", f"0.1x{LONG}"),
}

# No step is done from minute 5 on; what steps tell stands still.
STANDING = {
    name: values.replace(TIME, STOPPED)
    for name, values in HEALTHY.items()
    if name.startswith(("commonfate_step", "commonfate_checkpoint_last"))
} | {
    **each("commonfate_step_phase_seconds_sum", f"0+2x60 120x{LONG - 60}", phase="forward"),
    **each("commonfate_data_wait_seconds_total", f"0+0.5x60 30x{LONG - 60}"),
}
GONE_RANK_1 = {
    selector: re.sub(r"^(\S+?)x\d+.*", r"\1x60", values) + " stale"
    for selector, values in (HEALTHY | STANDING).items()
    if 'rank="1"' in selector
}
ALL_GONE = {
    selector: re.sub(r"^(\S+?)x\d+.*", r"\1x60", values) + " stale" for selector, values in HEALTHY.items()
}


@dataclass(frozen=True)
class Case:
    """What differs from a healthy run; when it is looked at; the alert that fires then, alone, "" = none."""

    name: str
    alert: str
    at: str
    changed: dict[str, str] = field(default_factory=dict)
    ranks: tuple[str, ...] = ()  # label of the alert, where it has one
    value: str = ""
    place: str = ""


CASES = (
    Case("healthy", "", "20m"),
    Case("no step for a minute", "CommonfateStalled", "6m", STANDING),
    Case("no step for 20 s", "", "5m20s", STANDING),
    Case(
        "no step while it evaluates",
        "",
        "10m",
        STANDING
        | each("commonfate_run_state", f"1x60 0x{LONG - 60}", state="training")
        | each("commonfate_run_state", f"0x60 1x{LONG - 60}", state="evaluating"),
    ),
    Case(
        "steps of a minute, none for three",
        "",
        "8m",
        STANDING | each("commonfate_step_seconds_count", f"0+0.083x60 5x{LONG - 60}"),
    ),
    Case(
        "a rank stopped",
        "CommonfateHang",
        "6m",
        STANDING | GONE_RANK_1 | each("up", f"1x60 0x{LONG}", ranks=("1",), job="commonfate"),
    ),
    Case(
        "loss is NaN",
        "CommonfateNonFiniteLoss",
        "6m",
        each("commonfate_loss", "1x60" + 60 * " NaN"),
        value="2",
    ),
    Case(
        "gradient is infinite",
        "CommonfateNonFiniteLoss",
        "6m",
        each("commonfate_gradient_norm", "1x60" + 60 * " Inf"),
        value="2",
    ),
    Case("loss is large", "", "6m", each("commonfate_loss", f"1x60 1e30x{LONG}")),
    Case(
        "one rank waits 60 % for data",
        "CommonfateDataBound",
        "6m",
        each("commonfate_data_wait_seconds_total", f"0+0.5x60 33+3x{LONG}", ranks=("1",)),
        value="60%",
    ),
    Case(
        "waits 20 % for data", "", "10m", each("commonfate_data_wait_seconds_total", f"0+0.5x60 31+1x{LONG}")
    ),
    Case(
        "rank 1 is twice as slow",
        "CommonfateStraggler",
        "6m",
        each("commonfate_step_phase_seconds_sum", f"0+2x60 124+4x{LONG}", ranks=("1",), phase="forward"),
        ranks=("1",),
    ),
    Case(
        "both are twice as slow",
        "",
        "10m",
        each("commonfate_step_phase_seconds_sum", f"0+2x60 124+4x{LONG}", phase="forward"),
    ),
    Case(
        "no slot holds anything",
        "CommonfateSlotCollapse",
        "6m",
        each("commonfate_slot_active", f"2x60 0x{LONG}"),
    ),
    Case(
        "every slot holds all",
        "CommonfateSlotCollapse",
        "6m",
        each("commonfate_slot_mask_area_ratio", f"0.2x60 0.99x{LONG}"),
    ),
    Case(
        "slots hold the same",
        "CommonfateSlotCollapse",
        "6m",
        each("commonfate_slot_duplicate_iou_ratio", f"0.2x60 0.95x{LONG}"),
    ),
    Case("one slot of three", "", "10m", each("commonfate_slot_active", f"3x60 1x{LONG}")),
    Case("nothing yet at step 95", "", "1m35s", each("commonfate_slot_active", f"0x{LONG}")),
    Case(
        "ranks differ",
        "CommonfateRankDivergence",
        "6m",
        each("commonfate_weights_divergence", f"0x60 1x{LONG}"),
    ),
    Case(
        "no save for 200 steps",
        "CommonfateCheckpointTooOld",
        "9m",
        each("commonfate_checkpoint_last_step", STOPPED)
        | each("commonfate_checkpoint_last_time_seconds", STOPPED),
        value="240",
    ),
    Case(
        "no save for 140 steps of 100",
        "",
        "7m20s",
        each("commonfate_checkpoint_last_step", STOPPED)
        | each("commonfate_checkpoint_last_time_seconds", STOPPED),
    ),
    Case(
        "uploads of 5 s, saves each second",
        "",
        "9m",
        each("commonfate_checkpoint_interval", f"1x{LONG}")
        | each("commonfate_checkpoint_last_step", f"0x1 0+5x{LONG}")
        | each("commonfate_checkpoint_last_time_seconds", f"0x1 0+5x{LONG}"),
    ),
    Case(
        "reads repeated",
        "CommonfateStoreErrors",
        "6m",
        each("commonfate_loader_retries_total", f"0x60 0+1x{LONG}", ranks=("0",)),
    ),
    Case(
        "reads repeated, and waited for",
        "CommonfateStoreErrors",
        "6m",
        each("commonfate_loader_retries_total", f"0x60 0+1x{LONG}", ranks=("0",))
        | each("commonfate_data_wait_seconds_total", f"0+0.5x60 33+3x{LONG}"),
    ),
    Case(
        "one read repeated", "", "6m", each("commonfate_loader_retries_total", f"0x60 1x{LONG}", ranks=("0",))
    ),
    Case(
        "saves take most of the time",
        "CommonfateGoodputLow",
        "10m",
        each("commonfate_run_activity_seconds", f"0+1x{LONG}", activity="productive")
        | each("commonfate_run_activity_seconds", f"0+3.4x{LONG}", activity="saving"),
        value="30%",
    ),
    Case(
        "one restart of a minute",
        "",
        "6m",
        each("commonfate_run_activity_seconds", f"30x60 90x{LONG}", activity="starting"),
    ),
    Case(
        "runs full within the hour",
        "CommonfateDiskFilling",
        "12m",
        each("commonfate_disk_free_bytes", gib(140, -0.5), place="scratch"),
        place="scratch",
    ),
    Case(
        "is full",
        "CommonfateDiskFilling",
        "12m",
        each("commonfate_disk_free_bytes", gib(10, 0), ranks=("1",), place="scratch"),
        place="scratch",
    ),
    Case(
        "fills, but is large", "", "12m", each("commonfate_disk_free_bytes", gib(900, -0.5), place="scratch")
    ),
    Case("little, but steady", "", "12m", each("commonfate_disk_free_bytes", gib(100, 0), place="scratch")),
    Case(
        "all gone, and rank 1 does not answer",
        "CommonfateWorkerMissing",
        "6m",
        ALL_GONE
        | each("up", f"1x60 0x{LONG}", ranks=("1",), job="commonfate")
        | each("up", f"1x{LONG}", ranks=("0",), job="commonfate"),
    ),
    Case("gone for half a minute", "", "5m30s", ALL_GONE | each("up", f"1x60 0x{LONG}", job="commonfate")),
    Case(
        "one of two ranks told nobody",
        "CommonfateWorkerMissing",
        "6m",
        {
            selector: f"{values.split('x')[0]}x60 stale"
            for selector, values in HEALTHY.items()
            if 'rank="1"' in selector
        },
    ),
    Case("ended", "", "10m", ALL_GONE),
)


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert {case.alert for case in CASES} == {row.name for row in ALERTS} | {""}
    assert len({case.name for case in CASES}) == len(CASES)


def test_rules_ask_for_what_there_is() -> None:
    recorded = {row.name for row in RECORDINGS}
    for row in (*RECORDINGS, *ALERTS):
        text = re.sub(
            r"\b(run|rank):\w+:\w+", lambda found: "" if found[0] in recorded else "?", row.expression
        )
        assert "?" not in text, row.expression
        assert set(names_in(text)) <= METRICS.keys(), row.name


def test_alerts_say_whose_they_are_and_what_to_do() -> None:
    assert len({row.name for row in ALERTS}) == len(ALERTS)
    for row in ALERTS:
        assert re.fullmatch(r"Commonfate([A-Z][a-z]+)+", row.name)
        assert row.summary[0].islower()
        assert row.remedy.endswith(".")


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("promtool")
    file = tmp_path_factory.mktemp("rules") / "rules.yml"
    file.write_text(yaml.safe_dump(rules_tree(RECORDINGS, ALERTS)))
    return file


@pytest.mark.service
def test_promtool_accepts_the_rules(rules: Path) -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(rules)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(RECORDINGS) + len(ALERTS)} rules found" in done.stdout


@pytest.mark.service
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_right_alert_fires_and_no_other(case: Case, rules: Path, tmp_path: Path) -> None:
    tests = {
        "rule_files": [str(rules)],
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": "5s",
                "input_series": [{"series": s, "values": v} for s, v in (HEALTHY | case.changed).items()],
                "alert_rule_test": [
                    {"eval_time": case.at, "alertname": row.name, "exp_alerts": expected(case, row.name)}
                    for row in ALERTS
                ],
            }
        ],
    }
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump(tests))
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def expected(case: Case, name: str) -> list[Any]:
    """What promtool is to find of an alert."""
    if name != case.alert:
        return []
    (row,) = (row for row in ALERTS if row.name == name)
    labels = {"run": "r", "severity": row.severity}
    labels |= {"place": case.place} if case.place else {}
    labels |= {"rank": case.ranks[0]} if case.ranks else {}
    summary = re.sub(r"\{\{ \$value[^}]*\}\}", case.value, f"r: {row.summary}")
    summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], summary)
    return [{"exp_labels": labels, "exp_annotations": {"summary": summary, "description": row.remedy}}]
