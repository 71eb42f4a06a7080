"""The page about one video: its film, when each object was there, and what it looked like."""

import html
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.discovery.overlay import FILM, colour_of
from trainer.discovery.sighting import Sighting
from trainer.pictures.picture import Picture
from trainer.report import markup

PAGE = "page.html"
INLINED = 30_000_000  # bytes of a film that the page holds itself
CROPS = 8  # pictures of an object, at most
CROP = 96  # pixels of the longer side of such a picture
ROW, WIDTH, NAMES = 22, 900, 90  # pixels of the time line

CAPTION = "Left: what was found, a colour, a number and a path for each object. Right: the frame as it was predicted."


class Story:
    """What is told of a video's objects: when they were there, and how they looked."""

    def __init__(self) -> None:
        self.frames = 0
        self.spans: dict[int, list[list[int]]] = {}
        self.crops: dict[int, list[tuple[int, Picture]]] = {}
        self._every: dict[int, int] = {}

    def add(self, seen: Sighting) -> None:
        """The next frame."""
        for number in seen.boxes:
            spans = self.spans.setdefault(number, [])
            if spans and spans[-1][1] == self.frames:
                spans[-1][1] += 1
            else:
                spans.append([self.frames, self.frames + 1])
            self._crop(number, seen)
        self.frames += 1

    def seen_in(self, number: int) -> int:
        """In how many frames an object was seen."""
        return sum(end - start for start, end in self.spans[number])

    def _crop(self, number: int, seen: Sighting) -> None:
        """Keeps one in so many frames of an object, fewer the longer it is seen."""
        crops, every = self.crops.setdefault(number, []), self._every.setdefault(number, 1)
        if (self.seen_in(number) - 1) % every:
            return
        x, y, width, height = seen.boxes[number]
        crop = Image.fromarray(seen.picture[y : y + height, x : x + width])
        crop.thumbnail((CROP, CROP))
        crops.append((seen.number, np.asarray(crop)))
        if len(crops) > CROPS:
            self.crops[number], self._every[number] = crops[::2], 2 * every


def write_page(folder: Path, name: str, told: str, story: Story, facts: dict[str, str]) -> None:
    """`page.html`, with all that it shows inside.

    Args:
        folder: with the film.
        name: of the video.
        told: a sentence on what was found.
        story: of its objects.
        facts: how it was made, name -> value.
    """
    film = folder / FILM
    body = [markup.text("h1", name), markup.text("p", told)]
    if film.stat().st_size <= INLINED:
        body.append(markup.film(film.read_bytes(), told, CAPTION))
    else:
        body.append(markup.text("p", f"The film is too large for a page: see {FILM} beside it."))
    if story.spans:
        body += [markup.text("h2", "When"), markup.wide(time_line(story), when(story))]
        body.append(markup.text("h2", "What"))
        for number, crops in story.crops.items():
            body.append(markup.text("h3", f"object {number}"))
            body.append(markup.gallery([(f"frame {frame}", picture) for frame, picture in crops]))
    body += [markup.text("h2", "How"), markup.facts(facts)]
    (folder / PAGE).write_text(markup.document(name, body), encoding="utf-8")


def when(story: Story) -> str:
    """In which frames each object was seen, in words."""
    return "; ".join(
        f"object {number}: frames {', '.join(f'{start} to {end - 1}' for start, end in spans)}"
        for number, spans in story.spans.items()
    )


def time_line(story: Story) -> str:
    """An SVG element with a row for each object and a bar for each stretch of frames in which it was seen."""
    height = ROW * (len(story.spans) + 1)
    parts = list(_rows(story))
    last = f"frame {story.frames - 1}"
    parts.append(f'<text x="{NAMES}" y="{height - 6}" font-size="11" fill="currentColor">frame 0</text>')
    parts.append(
        f'<text x="{WIDTH}" y="{height - 6}" font-size="11" fill="currentColor" text-anchor="end">{last}</text>'
    )
    return f'<svg viewBox="0 0 {WIDTH} {height}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'


def _rows(story: Story) -> Iterable[str]:
    scale = (WIDTH - NAMES) / max(story.frames, 1)
    for row, (number, spans) in enumerate(story.spans.items()):
        y, colour = row * ROW, "#" + bytes(colour_of(number)).hex()
        name = html.escape(f"object {number}")
        yield f'<text x="0" y="{y + 15}" font-size="13" fill="currentColor">{name}</text>'
        for start, end in spans:
            x, width = NAMES + start * scale, max((end - start) * scale, 1)
            yield f'<rect x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="{ROW - 6}" fill="{colour}"/>'
