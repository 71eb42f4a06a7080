"""The film: each frame with what was found in it, beside the frame as it was predicted."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from trainer.discovery.sighting import Sighting, objects_in
from trainer.pictures.film import Reel
from trainer.pictures.picture import PALETTE, Picture

FILM = "film.mp4"
LONGEST = 640  # pixels of the longer side of a frame in the film
LEAST = 240  # smaller frames are enlarged to about that
TINT = 0.45  # of an object's colour over its pixels
TRAIL = 50  # frames that a path goes back
INK, SHADE = (255, 255, 255), (0, 0, 0)


class OverlayFilm:
    """`film.mp4`: masks, numbers and paths over the frame at the left, the prediction of the frame at the right."""

    def __init__(self, folder: Path, fps: float) -> None:
        self._file = (folder / FILM).open("wb")
        self._reel = Reel(self._file, fps, timed=True)  # of phones and screens, frames come when they like
        self._start: float | None = None
        self._trails: dict[int, list[tuple[float, float]]] = {}

    def add(self, seen: Sighting) -> None:
        """See Output."""
        width, height = size_in_film(seen.picture)
        ids = np.asarray(Image.fromarray(seen.ids).resize((width, height), Image.Resampling.NEAREST))
        frame = np.asarray(Image.fromarray(seen.picture).resize((width, height), Image.Resampling.BOX))
        there = objects_in(ids)
        for number in there:
            rows, columns = np.nonzero(ids == number)
            trail = self._trails.setdefault(number, [])
            trail.append((float(columns.mean()), float(rows.mean())))
            del trail[:-TRAIL]
        self._trails = {number: self._trails[number] for number in there}
        left = self._drawn(tinted_objects(frame, ids))
        right = np.zeros((height, height, 3), np.uint8)
        if seen.prediction is not None:
            right = np.asarray(
                Image.fromarray(seen.prediction).resize((height, height), Image.Resampling.NEAREST)
            )
        self._start = seen.time if self._start is None else self._start
        self._reel.add(np.concatenate([left, right], axis=1), seen.time - self._start)

    def close(self) -> None:
        """See Output."""
        self._reel.close()
        self._file.close()

    def _drawn(self, frame: Picture) -> Picture:
        """With paths and numbers."""
        image = Image.fromarray(frame)
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=14)
        for number, trail in self._trails.items():
            if len(trail) > 1:
                draw.line(trail, fill=colour_of(number), width=2)
            draw.text(trail[-1], str(number), INK, font, anchor="mm", stroke_width=2, stroke_fill=SHADE)
        return np.asarray(image)


def colour_of(number: int) -> tuple[int, int, int]:
    """The colour of an object, from 1; colours repeat."""
    red, green, blue = PALETTE[(number - 1) % len(PALETTE)].tolist()
    return red, green, blue


def tinted_objects(frame: Picture, ids: np.ndarray) -> Picture:
    """The frame, each object in its colour, with a line of it around the object."""
    colours = PALETTE[(ids.astype(int) - 1) % len(PALETTE)]
    edge = np.zeros(ids.shape, bool)
    edge[:-1] |= ids[:-1] != ids[1:]
    edge[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    share = np.where(edge, 1.0, TINT)[..., None] * (ids > 0)[..., None]
    mixed: Picture = (frame * (1 - share) + colours * share).round().astype(np.uint8)
    return mixed


def size_in_film(picture: Picture) -> tuple[int, int]:
    """Width and height of a frame in the film: its own, unless that is very large or small."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    scale = LONGEST / longest if longest > LONGEST else max(1, LEAST // longest)
    return max(1, round(width * scale)), max(1, round(height * scale))
