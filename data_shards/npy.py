"""Arrays as npy 1.0, read without numpy's reader.

numpy parses a header as Python source. CPython 3.11 fails at that now and then where several threads do it at once
(SystemError, "AST constructor recursion depth mismatch"), and the readers of shards are threads; nor is what lies in a
bucket source code.
"""

import re
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from data_shards.clip import Array

_START = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<>|][biufU]\d{1,9})', 'fortran_order': False, 'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\), \} *\n"
)


def read_npy(raw: bytes) -> Array:
    """The array that `raw` holds, as np.save writes it; it shares the memory of `raw` and is not writable.

    Raises:
        ValueError: anything else, arrays of objects, structures and Fortran order included.
    """
    start = 10 + int.from_bytes(raw[8:10], "little")
    shape, dtype = _header(raw[:start])
    if len(raw) - start != dtype.itemsize * prod(shape):
        raise ValueError(f"{len(raw) - start} bytes do not make an array of shape {shape}")
    return np.frombuffer(raw, dtype, offset=start).reshape(shape)


@lru_cache(maxsize=256)  # a set has a handful of headers
def _header(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    found = _HEADER.fullmatch(header, 10)
    if not header.startswith(_START) or found is None:
        raise ValueError("not a plain npy of version 1.0")
    shape = tuple(int(side) for side in found[2].split(b",") if side.strip())
    return shape, np.dtype(found[1].decode())
