"""A board as Grafana's JSON, by Grafana's own builders. They are loaded here alone."""

import json
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    GridPos,
    VariableRefresh,
    VariableSort,
)

from monitoring.dashboards.boards import BOARDS, Board
from monitoring.dashboards.layout import Place, places
from monitoring.dashboards.panel import Panel

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_TAG = "commonfate"


def dashboard_json(board: Board) -> str:
    """The dashboard, as Grafana's provisioning reads it: a choice of data source and of run above the panels."""
    made = (
        dashboard.Dashboard(f"Commonfate / {board.title}")
        .uid(board.uid)
        .description(board.help)
        .tags([_TAG])
        .time("now-1h", "now")
        .timezone("browser")
        .refresh("10s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("run")
            .label("Run")
            .datasource(_SOURCE)
            .query("label_values(commonfate_run_state, run)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.ALPHABETICAL_ASC)
        )
    )
    for number, place in enumerate(places(board.panels), 1):
        made.with_panel(_panel(place, number))
    made.links([_link(other) for other in BOARDS if other != board])
    return json.dumps(_told(json.loads(json.dumps(made.build(), cls=JSONEncoder))), indent=1) + "\n"


def _panel(place: Place, number: int) -> stat.Panel | timeseries.Panel:
    panel = place.panel
    picture = _number(panel) if panel.look in ("number", "names") else _lines(panel)
    picture.id(number).title(panel.title).description(panel.help).unit(panel.unit).datasource(_SOURCE)
    picture.grid_pos(GridPos(h=panel.height, w=panel.width, x=place.x, y=place.y))
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(query.expression).legend_format(query.legend)
        picture.with_target(target.datasource(_SOURCE).range())
    return picture


def _number(panel: Panel) -> stat.Panel:
    named = panel.look == "names"
    last = common.ReduceDataOptions().calcs(["lastNotNull"])
    text = kinds.BigValueTextMode.NAME if named else kinds.BigValueTextMode.VALUE
    return stat.Panel().reduce_options(last).text_mode(text).graph_mode(kinds.BigValueGraphMode.NONE)


def _lines(panel: Panel) -> timeseries.Panel:
    table = common.VizLegendOptions().show_legend(True).display_mode(kinds.LegendDisplayMode.LIST)
    made = timeseries.Panel().legend(table.placement(kinds.LegendPlacement.BOTTOM))
    made.tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI))
    made.show_points(kinds.VisibilityMode.NEVER)
    if panel.look == "shares":
        made.stacking(common.StackingConfig().mode(kinds.StackingMode.PERCENT)).fill_opacity(70).min(0).max(1)
    return made


def _link(other: Board) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(other.title).type(DashboardLinkType.LINK).url(f"/d/{other.uid}")
    return link.keep_time(True).include_vars(True)


def _told(tree: Any) -> Any:
    """Without the fields that say nothing: the builders write them as null, and their own reader refuses that."""
    if isinstance(tree, dict):
        return {name: _told(value) for name, value in tree.items() if value is not None}
    return [_told(value) for value in tree] if isinstance(tree, list) else tree
