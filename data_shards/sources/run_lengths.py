"""COCO's run lengths: masks as the lengths of runs of 0 and 1 in turn, column by column, as numbers or as letters."""

from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool

SIDE = 1 << 14  # pixels, at most
FIRST, BITS = 48, 5  # the letter of 0; bits of a number in each letter


def decode_runs(mask: Any) -> Bool[np.ndarray, "h w"]:
    """The mask of {"size": [h, w], "counts": lengths or letters}, such as a JSON document has it.

    Raises:
        ValueError: it is none; says why in part of a sentence.
    """
    size, counts = (mask.get(name) for name in ("size", "counts")) if isinstance(mask, dict) else (None, None)
    if not (
        isinstance(size, list) and len(size) == 2 and all(isinstance(x, int) and 0 < x <= SIDE for x in size)
    ):
        raise ValueError(f"its mask has size {size!r:.40}, needs two numbers from 1 to {SIDE}")
    h, w = size
    runs: Any = letters_to_runs(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(isinstance(run, int) and run >= 0 for run in runs)
    if not whole or sum(runs) != h * w:
        raise ValueError(f"the runs of its mask do not add up to {h} x {w} pixels")
    flat = np.zeros(h * w, bool)
    ends = np.cumsum([0, *runs]).tolist()
    for start, stop in list(pairwise(ends))[1::2]:
        flat[start:stop] = True
    return flat.reshape(w, h).T


def letters_to_runs(letters: str) -> list[int]:
    """Numbers of five bits a letter, the lowest first; from the fourth on, differences to the last but one.

    Raises:
        ValueError: a letter is none of COCO's, or the last number does not end.
    """
    runs: list[int] = []
    number, place = 0, 0
    for letter in letters:
        code = ord(letter) - FIRST
        if not 0 <= code < 64 or place > 12:
            raise ValueError(f"its mask is not spelt as COCO's: {letter!r}")
        number |= (code & 31) << (BITS * place)
        place += 1
        if code & 32:
            continue
        if code & 16:  # negative
            number -= 1 << (BITS * place)
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number, place = 0, 0
    if place:
        raise ValueError("its mask ends within a number")
    return runs
