"""A board's layout as SVG, for docs/: what stands where, with curves that are drawn and not measured."""

from html import escape
from math import sin

from monitoring.dashboards.boards import Board
from monitoring.dashboards.layout import COLUMNS, Place, places
from monitoring.dashboards.panel import Panel

_COLUMN, _ROW, _GAP, _HEAD = 44, 24, 6, 46  # pixels
_CHARACTER = 6.2  # mean width of one at the size of titles
_COLOURS = ("#3f63c4", "#d9a558", "#6fae86", "#b0568c", "#7b86a8")

_STYLE = """\
text{font-family:system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:#1d2433}
.t{font-size:17px;font-weight:700}.h{font-size:12.5px;fill:#46506a}.p{font-size:11.5px;font-weight:700}
.l{font-size:10px;fill:#46506a}.big{font-size:20px;font-weight:700;fill:#3f63c4}.b{fill:#fff;stroke:#c3cbe0}
"""


def board_svg(board: Board) -> str:
    """The board from above, as wide as its columns."""
    placed = places(board.panels)
    width = COLUMNS * _COLUMN + 2 * _GAP
    height = _HEAD + max(place.y + place.panel.height for place in placed) * _ROW + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(f"Layout of the dashboard {board.title}")}">',
        f"<style>\n{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#f3f5fb"/>',
        f'<text class="t" x="12" y="29">{escape(board.title)}</text>',
        f'<text class="h" x="{24 + len(board.title) * 10}" y="29">{escape(board.help)}</text>',
        *(line for place in placed for line in _panel(place)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(place: Place) -> list[str]:
    panel = place.panel
    x, y = _GAP + place.x * _COLUMN, _HEAD + place.y * _ROW
    width, height = panel.width * _COLUMN - _GAP, panel.height * _ROW - _GAP
    unit = {"short": "", "percentunit": "%", "Bps": "B/s"}.get(
        panel.unit, panel.unit.removeprefix("suffix: ")
    )
    title = f"{panel.title}, {unit}" if unit else panel.title
    found = [
        f"<g><title>{escape(panel.help)}</title>",
        f'<rect class="b" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>',
        f'<text class="p" x="{x + 8}" y="{y + 17}">{escape(_cut(title, width))}</text>',
    ]
    if panel.look in ("number", "names"):
        shown = _cut(_plain(panel.queries[0].legend), width * 0.55)
        found.append(f'<text class="big" x="{x + 8}" y="{y + height / 2 + 14:g}">{escape(shown)}</text>')
    else:
        legends = ", ".join(_plain(query.legend) for query in panel.queries)
        found += _curves(panel, x + 8, y + 28, width - 16, height - 52)
        found.append(
            f'<text class="l" x="{x + 8}" y="{y + height - 8}">{escape(_cut(legends, width))}</text>'
        )
    return [*found, "</g>"]


def _curves(panel: Panel, x: int, y: int, width: int, height: int) -> list[str]:
    """Curves that look like those of such a panel."""
    count = 3 if "{{" in panel.queries[0].legend else len(panel.queries)
    points = 24
    steps = [x + width * index / points for index in range(points + 1)]
    found = []
    for number in range(count):
        level = [(number + 1) / (count + 1) + 0.08 * sin(index / 3 + number) for index in range(points + 1)]
        line = " ".join(f"{at:.0f},{y + height * share:.0f}" for at, share in zip(steps, level, strict=True))
        colour = _COLOURS[number]
        if panel.look == "shares":
            floor = f"{x + width},{y + height} {x},{y + height}"
            if not number:
                found.append(
                    f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{_COLOURS[3]}" opacity=".7"/>'
                )
            found.append(f'<polygon points="{line} {floor}" fill="{colour}" stroke="#fff"/>')
        else:
            found.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    return found


def _plain(legend: str) -> str:
    """A label's name for its value."""
    return legend.replace("{{", "").replace("}}", "")


def _cut(text: str, width: float) -> str:
    """What fits of a text."""
    most = int((width - 16) / _CHARACTER)
    return text if len(text) <= most else text[: most - 1] + "…"
