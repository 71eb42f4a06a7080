"""HTML elements of the report: text escaped, pictures inlined, nothing loaded from elsewhere."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from trainer.pictures.picture import PALETTE, Picture, Strip


def document(title: str, body: Iterable[str]) -> str:
    """The page: style inside, no script, nothing loaded from elsewhere."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{html.escape(title)}</title>\n<style>\n{style}</style>'
    )
    content = "\n".join(body)
    page = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{content}\n</body></html>\n'
    return page.encode(errors="backslashreplace").decode()  # a name of a file that is no text is escaped


def text(tag: str, content: str, kind: str = "") -> str:
    """An element with escaped text."""
    return f"<{tag}{_class(kind)}>{html.escape(content)}</{tag}>"


def tiles(entries: Sequence[tuple[str, str, Sequence[str]]]) -> str:
    """Large numbers: (value, what it is, what to compare it with)."""
    cells = [
        text("span", what) + text("b", value) + "".join(text("span", line) for line in beside)
        for value, what, beside in entries
    ]
    joined = "".join(f'<div class="tile">{cell}</div>' for cell in cells)
    return f'<div class="tiles">{joined}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], better: Iterable[bool] = ()) -> str:
    """A table; first column names, last column prose; `better` marks rows whose second cell beats the reference."""
    marks = list(better)
    lines = []
    for i, row in enumerate(rows):
        kinds = ["", "better" if i < len(marks) and marks[i] else "", *[""] * (len(row) - 3), "prose"]
        lines.append(
            "<tr>" + "".join(text("td", cell, kind) for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        )
    top = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def facts(entries: dict[str, str]) -> str:
    """Names and values."""
    return f'<dl class="facts">{"".join(text("dt", k) + text("dd", v) for k, v in entries.items())}</dl>'


def charts(drawings: Sequence[tuple[str, str]]) -> str:
    """SVG drawings side by side: (drawing, description for those who cannot see it)."""
    cells = [f'<div role="img" aria-label="{html.escape(alt)}">{svg}</div>' for svg, alt in drawings]
    return f'<div class="charts">{"".join(cells)}</div>'


def wide(drawing: str, alt: str) -> str:
    """One SVG drawing as wide as the page: `alt` describes it for those who cannot see it."""
    return f'<div class="wide" role="img" aria-label="{html.escape(alt)}">{drawing}</div>'


def animation(data: bytes, alt: str, caption: str) -> str:
    """A GIF with its caption."""
    image = f'<img src="{_uri("image/gif", data)}" alt="{html.escape(alt)}">'
    return f'<figure class="hero">{image}{text("figcaption", caption)}</figure>'


def film(data: bytes, alt: str, caption: str) -> str:
    """An mp4 film with its caption."""
    player = (
        f'<video src="{_uri("video/mp4", data)}" aria-label="{html.escape(alt)}" controls loop muted></video>'
    )
    return f'<figure class="hero">{player}{text("figcaption", caption)}</figure>'


def strips(rows: Sequence[Strip], columns: int) -> str:
    """Labelled rows of pictures, `columns` frames wide, under each other; scrolls sideways on a phone."""
    lines = [
        f'<div class="strip" title="{html.escape(row.about)}">{text("span", row.label)}{_row_image(row, columns)}</div>'
        for row in rows
    ]
    # Frames of a short clip would grow huge on a wide screen.
    return f'<div class="strips" style="--columns: {columns}">{"".join(lines)}</div>'


def gallery(pictures: Sequence[tuple[str, Picture]]) -> str:
    """Pictures side by side, each above its caption, in their own pixels: the page enlarges them."""
    cells = [
        f'<figure><img src="{_picture(picture)}" alt="{html.escape(caption)}">{text("figcaption", caption)}</figure>'
        for caption, picture in pictures
    ]
    return f'<div class="gallery">{"".join(cells)}</div>'


def legend(slots: int) -> str:
    """The colours of the slots."""
    colours = ["#" + bytes(PALETTE[k % len(PALETTE)].tolist()).hex() for k in range(slots)]
    items = [f'<li><i style="background:{colour}"></i>slot {k + 1}</li>' for k, colour in enumerate(colours)]
    return f'<ul class="legend">{"".join(items)}</ul>'


def wheel(picture: Picture, caption: str) -> str:
    """The wheel of the colours of flow, cut round, and what it says."""
    image = f'<img src="{_picture(picture)}" alt="{html.escape(caption)}">'
    return f'<figure class="wheel">{image}{text("figcaption", caption)}</figure>'


def details(summary: str, content: str, opened: bool = False) -> str:
    """Content that opens with a click."""
    return f"<details{' open' if opened else ''}>{text('summary', summary)}{content}</details>"


def _row_image(row: Strip, columns: int) -> str:
    """The row as one picture with transparent gaps, in the pictures' own pixels: the page enlarges it."""
    size = row.pictures[0].shape[1]
    gap = max(1, size // 32)
    wide = np.zeros((row.pictures[0].shape[0], columns * (size + gap) - gap, 4), np.uint8)
    for i, picture in enumerate(row.pictures):
        left = (row.first - 1 + i) * (size + gap)
        wide[:, left : left + size, :3] = picture
        wide[:, left : left + size, 3] = 255
    alt = f"{row.label}: {row.about}; frames {row.first} to {row.first + len(row.pictures) - 1}"
    kind = _class("smooth" if row.drawn else "")
    source = _uri("image/webp", _webp(wide, lossless=not row.drawn))
    return f'<img{kind} src="{source}" alt="{html.escape(alt)}">'


def _picture(picture: Picture) -> str:
    opaque = np.full((*picture.shape[:2], 1), 255, np.uint8)
    return _uri("image/webp", _webp(np.concatenate([picture, opaque], axis=2), lossless=True))


def _webp(picture: UInt8[np.ndarray, "h w 4"], lossless: bool) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(picture).save(file, format="WEBP", lossless=lossless, quality=80)
        return file.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
