"""The benchmark of the unroll, in small: its counts hold, its table and its JSON agree."""

import json
from pathlib import Path

import pytest

from model.cost import Cost
from model.remat import fit, peak_bytes, recomputed_steps
from trainer.__main__ import main
from trainer.bench.unroll import revolve


def test_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--steps", "20", "--batch", "1", "--channels", "2", "--size", "8", "--repeat", "1"]
    assert (
        main(["bench", "unroll", *options, "--device", "cpu", "--json", str(tmp_path / "unroll.json")]) == 0
    )
    table = capsys.readouterr().out.splitlines()
    written = json.loads((tmp_path / "unroll.json").read_text())
    assert written["settings"]["steps"] == 20
    assert [line.split()[0] for line in table[1:]] == [row["policy"] for row in written["rows"]]
    none, *others = written["rows"]
    assert none["recomputed_steps"] == 0
    for row in others:
        assert row["peak_bytes"] < none["peak_bytes"]
        assert row["recomputed_steps"] > 0
        if row["policy"].startswith("bytes"):
            assert row["peak_bytes"] <= 1.05 * int(row["policy"].partition(":")[2])
            assert row["recomputed_steps"] <= 1.05 * row["binomial_steps"]


@pytest.mark.parametrize("budget", [40, 60, 100, 200, 400])
def test_the_planner_is_never_behind_revolve_in_blocks(budget: int) -> None:
    cost = Cost(step=10, state=3, work=12)
    plan = fit(30, cost, budget)
    assert recomputed_steps(plan) <= revolve(30, cost, budget)
    assert revolve(30, cost, budget) <= revolve(30, cost, peak_bytes(plan, cost))
