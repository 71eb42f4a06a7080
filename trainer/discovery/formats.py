"""Masks and tracks in the formats that others read: DAVIS's indexed PNGs, COCO's run lengths, MOTChallenge's text.

Each is written while the video is read: nothing grows with its length but the files.
"""

import io
import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool
from PIL import Image

from trainer.discovery.sighting import Sighting
from trainer.pictures.picture import PALETTE

COLOURS = 255  # of an indexed PNG, beside that of the background


class Output(Protocol):
    """A file, or several, about a video."""

    def add(self, seen: Sighting) -> None:
        """The next frame."""

    def close(self) -> None:
        """There are no more."""


class IndexedPngs:
    """`masks/000000.png` for each frame: the number of a pixel's object is its index of a colour, 0 = none.

    Object 256 has the index of the first one again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "masks"
        self._folder.mkdir()
        self._palette = [0, 0, 0, *np.resize(PALETTE, (COLOURS, 3)).ravel().tolist()]

    def add(self, seen: Sighting) -> None:
        """See Output."""
        indices = np.where(seen.ids > 0, (seen.ids.astype(int) - 1) % COLOURS + 1, 0).astype(np.uint8)
        image = Image.fromarray(indices, "P")
        image.putpalette(self._palette)
        with io.BytesIO() as file:
            image.save(file, format="PNG")
            (self._folder / f"{seen.number:06d}.png").write_bytes(file.getvalue())

    def close(self) -> None:
        """See Output."""


class CocoMasks:
    """`masks.json`: an image for each frame and an annotation for each object in it, `track_id` its number."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "masks.json").open("w", encoding="utf-8")
        self._images: list[tuple[int, int, int]] = []
        self._count = 0
        self._file.write('{"annotations": [')

    def add(self, seen: Sighting) -> None:
        """See Output."""
        self._images.append((seen.number, *seen.ids.shape))
        for number, box in seen.boxes.items():
            mask = seen.ids == number
            self._count += 1
            entry = {
                "id": self._count,
                "image_id": seen.number,
                "category_id": 1,
                "track_id": number,
                "bbox": list(box),
                "area": int(mask.sum()),
                "iscrowd": 0,
                "segmentation": run_lengths(mask),
            }
            self._file.write(("," if self._count > 1 else "") + "\n" + json.dumps(entry))

    def close(self) -> None:
        """See Output."""
        self._file.write('\n],\n"categories": [{"id": 1, "name": "object"}],\n"images": [')
        for place, (number, height, width) in enumerate(self._images):
            image = {"id": number, "file_name": f"masks/{number:06d}.png", "height": height, "width": width}
            self._file.write(("," if place else "") + "\n" + json.dumps(image))
        self._file.write("\n]}\n")
        self._file.close()


class MotTracks:
    """`tracks.txt`: frame (from 1), object, left, top, width, height of its visible part, 1, -1, -1, -1."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "tracks.txt").open("w", encoding="utf-8")

    def add(self, seen: Sighting) -> None:
        """See Output."""
        for number, (x, y, width, height) in seen.boxes.items():
            self._file.write(f"{seen.number + 1},{number},{x},{y},{width},{height},1,-1,-1,-1\n")

    def close(self) -> None:
        """See Output."""
        self._file.close()


def run_lengths(mask: Bool[np.ndarray, "h w"]) -> dict[str, Any]:
    """COCO's uncompressed run lengths: down the columns, of 0 and 1 in turn, the first of 0."""
    pixels = np.concatenate([[False], mask.ravel(order="F"), [False]])
    turns = np.flatnonzero(pixels[1:] != pixels[:-1])
    counts = np.diff(np.concatenate([[0], turns, [mask.size]])).tolist()
    return {"size": list(mask.shape), "counts": counts if counts[-1] else counts[:-1]}
