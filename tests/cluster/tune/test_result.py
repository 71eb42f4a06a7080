"""What a sweep leaves: a table, a page, a recipe; and who may write where."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cluster.config import ClusterConfig
from cluster.tune.entrant import Entrant
from cluster.tune.plan import Plan
from cluster.tune.record import owned
from cluster.tune.result import write_result
from cluster.tune.table import as_text, ranked
from data_shards.storage.place import open_store
from tests.cluster.tune.plans import plan_to
from trainer.config import RunConfig
from trainer.overrides import resolve


def entrants(plan: Plan) -> list[Entrant]:
    scores = [17.5, None, 20.25, 19.0, None, 3.0]
    states = ["finished", "failed", "finished", "stopped", "failed", "stopped"]
    rows = []
    for number, (score, state) in enumerate(zip(scores, states, strict=True)):
        values = plan.drawn(number) | {"optim.warmup_steps": number}
        curve = {} if score is None else {10: score - 1, 20: score}
        why = "no room <for> 1 worker" if score is None else ""
        rows.append(Entrant(number, values, 0, state, 20 if score else 0, score, curve, why))  # type: ignore[arg-type]
    return rows


def test_the_best_comes_first_and_those_without_a_score_last(tmp_path: Path) -> None:
    plan = plan_to(str(tmp_path))
    assert [each.number for each in ranked(plan, entrants(plan))] == [2, 3, 0, 5, 1, 4]
    least = plan_to(str(tmp_path), mode="min")
    assert [each.number for each in ranked(least, entrants(plan))] == [5, 0, 3, 2, 1, 4]
    rows = as_text(plan, entrants(plan)).splitlines()
    assert rows[0].split() == [
        "trial",
        "val/psnr",
        "step",
        "optim.lr",
        "optim.name",
        "optim.warmup_steps",
        "state",
    ]
    assert rows[1].split()[:3] == ["trial-02", "20.25", "20"]
    assert rows[-1].endswith("failed: no room <for> 1 worker")


def test_the_recipe_trains_the_best_config(tmp_path: Path) -> None:
    plan = plan_to(str(tmp_path), "scaling.num_workers=2", "batch.size=8")
    told = write_result(plan, entrants(plan))
    best = str(tmp_path / "best.json")
    assert f"best: python -m cluster train --config {best}" in told
    wanted = plan.asked.run().model_dump()
    found = resolve(None, file=best)
    assert type(found) is RunConfig
    assert found.optim.lr == plan.drawn(2)["optim.lr"]
    wanted["optim"] |= {"lr": found.optim.lr, "name": plan.drawn(2)["optim.name"], "warmup_steps": 2}
    assert found.model_dump() == wanted | {"output": f"{tmp_path}/best"}
    assert resolve(None, ["scaling.num_workers=4"], ClusterConfig, best).optim == found.optim
    assert json.loads((tmp_path / "best.json").read_text())["score"] == 20.25


class Elements(HTMLParser):
    """What a page has: its elements' names, the text of cells, and links to elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href") and value != "data:,"]

    def handle_data(self, data: str) -> None:
        self.cells.append(data)


def test_the_page_has_the_table_and_the_plots_and_loads_nothing(tmp_path: Path) -> None:
    plan = plan_to(str(tmp_path), schedule="asha")
    write_result(plan, entrants(plan))
    text = (tmp_path / "report.html").read_text()
    page = Elements(text)
    assert [link for link in page.links if not link.startswith(("data:", "#"))] == []
    assert page.names.count("tr") == 7
    assert page.names.count("svg") == 2  # parallel coordinates, and one of curves
    assert "Trial 2 is the best with 20.25 at step 20, after trial 3 with 19.00" in text
    assert "failed: no room <for> 1 worker" in page.cells
    assert "script" not in page.names
    drawing = text[text.index("<svg") : text.index("</svg>")]
    for name in (*plan.space, plan.column, "rmsprop", "20.25"):
        assert name in drawing


def test_a_page_without_any_score_says_why(tmp_path: Path) -> None:
    plan = plan_to(str(tmp_path))
    write_result(plan, [entrants(plan)[1]])
    assert "The first failed of this: no room &lt;for&gt; 1 worker" in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "best.json").exists()


def test_the_same_sweep_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    output = str(tmp_path / "sweep")
    with owned(plan_to(output)) as goes_on:
        assert not goes_on
    with owned(plan_to(output)) as goes_on:
        assert goes_on
    with (
        pytest.raises(ValueError, match=r"holds another sweep \(seed was 0, is 1\)"),
        owned(plan_to(output, seed=1)),
    ):
        pass
    with (
        pytest.raises(ValueError, match=r"holds another sweep \(config.optim.alpha was 0.99, is 0.5\)"),
        owned(plan_to(output, "optim.alpha=0.5")),
    ):
        pass


def test_a_second_sweep_beside_one_that_runs_is_refused(tmp_path: Path) -> None:
    plan = plan_to(str(tmp_path))
    refusal = pytest.raises(ValueError, match=r"is the output of a sweep that runs \(process \d+\)")
    with owned(plan), refusal, owned(plan):
        pass
    with owned(plan):
        pass


def test_a_run_is_not_made_a_sweep(tmp_path: Path) -> None:
    open_store(str(tmp_path)).put("checkpoints/step-00000010/checkpoint.json", b"{}")
    with (
        pytest.raises(ValueError, match="holds a run; give the sweep an output of its own"),
        owned(plan_to(str(tmp_path))),
    ):
        pass
    assert not (tmp_path / "sweep.json").exists()
