"""Every expression of every panel has an answer, and no empty one, from a real Prometheus that watches a real run."""

import time
from pathlib import Path

import pytest

from monitoring.dashboards.boards import BOARDS
from monitoring.dashboards.panel import RUN, WINDOW
from tests.conftest import require
from tests.integration.test_prometheus import OF_OTHER_MODELS, Prometheus
from tests.launch import start
from trainer.journal import run_name

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(500)]


def expressions(run: str) -> dict[tuple[str, str], str]:
    """What the panels ask of a run, as Grafana would send it, by board and panel."""
    return {
        (board.title, f"{panel.title} {number}"): query.expression.replace(RUN, run).replace(WINDOW, "30s")
        for board in BOARDS
        for panel in board.panels
        for number, query in enumerate(panel.queries)
        if not any(name in query.expression for name in OF_OTHER_MODELS)
    }


def test_every_panel_of_every_board_shows_data(tiny_set: str, tmp_path: Path) -> None:
    require("prometheus")
    run = tmp_path / "run"
    words = [
        f"data.url={tiny_set}",
        "steps=1000000",
        "evaluation.steps=20",
        "engine.hash_steps=10",
        "checkpoint.steps=20",
        "monitoring.port=0",
        "log_steps=5",
    ]
    wanted = expressions(run_name(str(run)))
    with Prometheus(run / "targets", tmp_path / "prometheus") as prometheus:
        ranks = start(run, 2, words)
        try:
            deadline = time.monotonic() + 300
            while wanted and time.monotonic() < deadline:
                # Equal to itself: not NaN, of which a panel shows nothing.
                asked = {at: f"({expression}) == ({expression})" for at, expression in wanted.items()}
                wanted = {at: wanted[at] for at in wanted if not prometheus.query(asked[at])}
                time.sleep(1)
        finally:
            ranks.kill()
    assert wanted == {}, ranks.said()


def test_an_expression_that_is_wrong_is_found(tmp_path: Path) -> None:
    """The other side of the test above: what has no data, or cannot be read, has no answer."""
    require("prometheus")
    (tmp_path / "targets").mkdir()
    with Prometheus(tmp_path / "targets", tmp_path / "prometheus") as prometheus:
        deadline = time.monotonic() + 60
        while not prometheus.query("vector(1)") and time.monotonic() < deadline:
            time.sleep(0.5)
        assert prometheus.query("vector(1) == vector(1)")
        assert not prometheus.query("(vector(1) * NaN) == (vector(1) * NaN)")
        assert not prometheus.query("sum by (rank (up)")
        assert not prometheus.query('commonfate_loss{run="r"}')
