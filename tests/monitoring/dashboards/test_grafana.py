"""What is written is what Grafana's own model of a dashboard reads, with nothing lost on the way."""

import json
from typing import Any

import pytest

from monitoring.dashboards.boards import BOARDS, Board
from monitoring.dashboards.layout import places

pytest.importorskip("grafana_foundation_sdk", reason="Grafana's builders are not installed: make setup")

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def tree(board: Board) -> Any:
    from monitoring.dashboards.grafana import dashboard_json

    return json.loads(dashboard_json(board))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_grafanas_model_reads_what_is_written(board: Board) -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    written = tree(board)
    again = json.loads(json.dumps(Dashboard.from_json(written), cls=JSONEncoder))
    assert {name: value for name, value in again.items() if value is not None}.keys() == written.keys()
    assert [panel["targets"] for panel in written["panels"]] == [
        [{name: value for name, value in target.items() if value is not None} for target in panel["targets"]]
        for panel in again["panels"]
    ]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_file_says_what_the_board_says(board: Board) -> None:
    written = tree(board)
    assert written["uid"] == board.uid
    assert len(written["panels"]) == len(board.panels)
    assert [panel["id"] for panel in written["panels"]] == list(range(1, len(board.panels) + 1))
    for place, panel in zip(places(board.panels), written["panels"], strict=True):
        assert panel["title"] == place.panel.title
        assert panel["fieldConfig"]["defaults"]["unit"] == place.panel.unit
        assert panel["datasource"] == SOURCE
        assert panel["gridPos"] == {
            "x": place.x,
            "y": place.y,
            "w": place.panel.width,
            "h": place.panel.height,
        }
        assert [(target["expr"], target["legendFormat"]) for target in panel["targets"]] == [
            (query.expression, query.legend) for query in place.panel.queries
        ]
        assert all(target["datasource"] == SOURCE for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_source_and_run_are_chosen_above_the_panels() -> None:
    for board in BOARDS:
        source, run = tree(board)["templating"]["list"]
        assert (source["type"], source["name"], source["query"]) == ("datasource", "datasource", "prometheus")
        assert (run["type"], run["name"], run["datasource"]) == ("query", "run", SOURCE)
        assert run["query"] == "label_values(commonfate_run_state, run)"


def test_boards_lead_to_each_other_and_take_run_and_time_along() -> None:
    for board in BOARDS:
        links = tree(board)["links"]
        assert {link["url"] for link in links} == {f"/d/{other.uid}" for other in BOARDS if other != board}
        assert all(link["includeVars"] and link["keepTime"] for link in links)
