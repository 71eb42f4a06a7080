"""Rules that every dashboard keeps, whatever panels are added: those of Grafana's dashboard linter, and ours."""

import re
from itertools import combinations
from typing import get_args

import pytest

from monitoring.catalogue import METRICS, Group, Metric
from monitoring.dashboards.boards import BOARDS, Board, names_in
from monitoring.dashboards.layout import COLUMNS, places
from monitoring.dashboards.panel import RUN, WINDOW, Panel, panel_of

PANELS = [
    pytest.param(panel, id=f"{board.title}/{panel.title}") for board in BOARDS for panel in board.panels
]


def test_every_series_is_on_the_board_of_its_group() -> None:
    groups = [group for board in BOARDS for group in board.groups]
    assert sorted(groups) == sorted(get_args(Group)), "each group has one board"
    for board in BOARDS:
        shown = {n for panel in board.panels for query in panel.queries for n in names_in(query.expression)}
        assert {row.name for row in METRICS.values() if row.group in board.groups} <= shown


def test_boards_and_the_panels_of_one_are_told_apart() -> None:
    assert len({board.uid for board in BOARDS}) == len({board.title for board in BOARDS}) == len(BOARDS)
    assert all(re.fullmatch(r"[a-z-]{1,40}", board.uid) for board in BOARDS)
    for board in BOARDS:
        titles = [panel.title.lower() for panel in board.panels]
        assert len(set(titles)) == len(titles), board.title


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_what_a_reader_needs(panel: Panel) -> None:
    assert panel.title
    assert panel.help
    assert panel.unit
    assert panel.queries
    for query in panel.queries:
        assert query.legend, "a legend that is empty shows the whole expression"
        rows = set(names_in(query.expression))
        assert rows
        assert rows <= METRICS.keys()
        selectors = re.findall(r"commonfate_\w+(?:\{[^}]*\})?", query.expression)
        assert all(f'run="{RUN}"' in selector for selector in selectors), "a panel shows one run"


@pytest.mark.parametrize("panel", PANELS)
def test_counters_are_shown_as_rates_over_grafanas_window_and_gauges_are_not(panel: Panel) -> None:
    for query in panel.queries:
        for function, selector, window in re.findall(
            r"(\w+)\((commonfate_[^(]*?)\[([^\]]+)\]", query.expression
        ):
            assert window == WINDOW
            (name,) = names_in(selector)
            assert (function == "rate") == (METRICS[name].kind != "gauge"), name
        outside = re.sub(r"commonfate_[^(]*?\[[^\]]+\]", "", query.expression)
        assert all(METRICS[name].kind == "gauge" for name in names_in(outside)), "a counter alone only rises"


@pytest.mark.parametrize("panel", PANELS)
def test_what_a_legend_names_is_a_label_that_is_kept(panel: Panel) -> None:
    for query in panel.queries:
        kept = {label for by in re.findall(r"by \(([^)]*)\)", query.expression) for label in by.split(", ")}
        assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= kept


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_panels_lie_within_the_columns_and_over_no_other(board: Board) -> None:
    placed = places(board.panels)
    assert [place.panel for place in placed] == list(board.panels)
    for place in placed:
        assert 0 <= place.x <= COLUMNS - place.panel.width
    for one, other in combinations(placed, 2):
        beside = one.x + one.panel.width <= other.x or other.x + other.panel.width <= one.x
        assert beside or one.y + one.panel.height <= other.y or other.y + other.panel.height <= one.y


@pytest.mark.parametrize(
    ("row", "title", "unit", "expression"),
    [
        (
            Metric("commonfate_a_b_seconds", "gauge", "time", "x", {"part": ("p",)}),
            *("A b", "s", 'avg by (part) (commonfate_loss{run="$run"})'),
        ),
        (
            Metric("commonfate_a_bytes_total", "counter", "data", "x"),
            *("A bytes", "Bps", 'sum by (rank) (rate(commonfate_loss{run="$run"}[$__rate_interval]))'),
        ),
        (
            Metric("commonfate_a_seconds", "histogram", "speed", "x", buckets=(1.0,)),
            "A time",
            "s",
            'histogram_quantile(0.5, sum by (le) (rate(commonfate_loss{run="$run"}[$__rate_interval])))',
        ),
        (
            Metric("commonfate_a_total", "counter", "progress", "x"),
            *("A", "suffix: /s", 'sum(rate(commonfate_loss{run="$run"}[$__rate_interval]))'),
        ),
    ],
)
def test_a_series_has_the_panel_of_its_kind(
    row: Metric, title: str, unit: str, expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def any_series(*_: str, run: str) -> str:
        return f'commonfate_loss{{run="{run}"}}'

    monkeypatch.setattr("monitoring.dashboards.panel.series", any_series)
    panel = panel_of(row)
    assert (panel.title, panel.unit, panel.queries[0].expression) == (title, unit, expression)
