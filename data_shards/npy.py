"""Arrays as npy 1.0, alone and in an npz, read without numpy's reader.

numpy parses a header as Python source. CPython 3.11 fails at that now and then where several threads do it at once
(SystemError, "AST constructor recursion depth mismatch"), and the readers of shards are threads; nor is what lies in a
bucket source code. numpy also allocates what a header claims, and unpacks an npz to its end.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from data_shards.clip import Array
from data_shards.storage.document import shortened

HEADER = 256  # bytes, at most: of an array of eight axes it has 128
_START = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<>|][biufU]\d{1,9})', 'fortran_order': False, 'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\), \} *\n"
)

# What zipfile raises for a damaged zip; NotImplementedError is of an unknown compression, RuntimeError of a password.
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


def read_npy(raw: bytes) -> Array:
    """The array that `raw` holds, as np.save writes it; it shares the memory of `raw` and is not writable.

    Raises:
        ValueError: anything else, arrays of objects, structures and Fortran order included.
    """
    start = 10 + int.from_bytes(raw[8:10], "little")
    if start > HEADER:
        raise ValueError(f"an npy header of {start} bytes, at most {HEADER} are read")
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
    try:
        return shape, np.dtype(found[1].decode())
    except TypeError as error:
        raise ValueError(f"npy of no known numbers: {error}") from error


def read_npz(data: bytes, most: Mapping[str, int]) -> dict[str, Array]:
    """The arrays of an npz file, which has those named in `most` and no others, each of at most so many bytes.

    Raises:
        ValueError: anything else; found before more than that is unpacked.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            if sorted(info.filename for info in file.infolist()) != sorted(f"{name}.npy" for name in most):
                raise ValueError(f"does not hold {', '.join(most)} alone")
            return {name: read_npy(_part(file, f"{name}.npy", size + HEADER)) for name, size in most.items()}
    except _BROKEN as error:
        raise ValueError(f"no npz: {shortened(error)}") from error


def _part(file: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file of a zip, of at most `most` bytes, whatever the zip says of it."""
    with file.open(name) as part:
        raw = part.read(most + 1)
    if len(raw) > most:
        raise ValueError(f"{name} unpacks to more than {most} bytes")
    return raw
