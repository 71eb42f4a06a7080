"""Where the panels of a board stand: left to right, a new line where the next does not fit."""

from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.dashboards.panel import Panel

COLUMNS = 24  # Grafana's


@dataclass(frozen=True)
class Place:
    """A panel and its corner, in columns from the left and rows from the top."""

    panel: Panel
    x: int
    y: int


def places(panels: Sequence[Panel]) -> tuple[Place, ...]:
    """Each line is as high as the highest panel in it."""
    placed: list[Place] = []
    x = y = height = 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y, height = 0, y + height, 0
        placed.append(Place(panel, x, y))
        x, height = x + panel.width, max(height, panel.height)
    return tuple(placed)
