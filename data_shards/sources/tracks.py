"""Boxes of objects through a video, one text file a video: MOTChallenge's format."""

import numpy as np

from data_shards.mistake import UserError
from data_shards.sources.text_list import read_lines
from data_shards.storage.store import Store

# Of each frame, counted from 0: x0 y0 x1 y1 in pixels, by id.
Tracks = dict[int, dict[int, tuple[float, float, float, float]]]


def read_tracks(store: Store, name: str) -> Tracks:
    """The file: frame from 1, id, left, top, width, height and, where given, a flag that is 0 where it does not count.

    Raises:
        UserError: a line is not six numbers or more.
    """
    tracks: Tracks = {}
    for number, line in enumerate(read_lines(store, name), start=1):
        if not line.strip():
            continue
        try:
            values = [float(word) for word in line.split(",")]
            frame, who, left, top, width, height = values[:6]
            if not np.isfinite(values[:6]).all() or frame < 1 or width < 0 or height < 0:
                raise ValueError
        except ValueError:
            raise UserError(
                f"{store.address(name)}, line {number}: {line.strip()[:80]!r} must be frame (from 1), id, left, top,"
                " width, height, with commas between them"
            ) from None
        if len(values) == 6 or values[6] != 0:
            tracks.setdefault(int(frame) - 1, {})[int(who)] = (left, top, left + width, top + height)
    return tracks
