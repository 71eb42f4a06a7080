"""The pictures in docs/ are of the boards as they are: each panel that was made by hand stands where it stands."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from monitoring.dashboards.boards import BOARDS, Board
from monitoring.dashboards.picture import board_svg

DOCS = Path(__file__).parents[3] / "docs" / "dashboards"
AGAIN = """python -c 'from pathlib import Path
from monitoring.dashboards.boards import BOARDS
from monitoring.dashboards.picture import board_svg
for board in BOARDS: Path(f"docs/dashboards/{board.uid}.svg").write_text(board_svg(board))'"""


def helped(svg: str) -> dict[str, dict[str, str]]:
    """Corner and size of each panel's frame, by its help."""
    space = "{http://www.w3.org/2000/svg}"
    groups = ElementTree.fromstring(svg).findall(f"{space}g")
    return {str(g.findtext(f"{space}title")): dict(g.find(f"{space}rect").attrib) for g in groups}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_picture_has_every_panel(board: Board) -> None:
    assert helped(board_svg(board)).keys() == {panel.help for panel in board.panels}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_docs_show_the_boards_as_they_are(board: Board) -> None:
    there, now = helped((DOCS / f"{board.uid}.svg").read_text()), helped(board_svg(board))
    # A series that came later stands below; only what was made by hand has to be drawn again.
    moved = [p.help for p in board.made or board.panels[:1] if there.get(p.help) != now[p.help]]
    assert not moved, f"draw it again: {AGAIN}"
