"""IDX files, the format of MNIST: a big-endian header with number type and shape, then the numbers."""

import gzip
import zlib

import fsspec
import numpy as np
from jaxtyping import UInt8

from data_shards.mistake import UserError
from data_shards.storage.place import is_elsewhere, open_store
from data_shards.storage.store import NotFound, StorageError

UNSIGNED_BYTE = 8  # the number type of images and labels, in the third byte


def read_images(folder: str, name: str) -> UInt8[np.ndarray, "n h w"]:
    """The images of the IDX file `name`, or `name`.gz, in the folder at any URL that fsspec knows.

    Raises:
        UserError: not an IDX file of images, or a damaged one.
        StorageError: neither file is there, or the store refuses.
    """
    return _read(folder, name, "images", 3)


def read_labels(folder: str, name: str) -> UInt8[np.ndarray, "n"]:
    """The labels of the IDX file `name`, as `read_images`."""
    return _read(folder, name, "labels", 1)


def _read(folder: str, name: str, what: str, axes: int) -> UInt8[np.ndarray, "..."]:
    try:
        file, data = name, read_bytes(folder, name)
    except NotFound:
        file = f"{name}.gz"
        try:
            data = read_bytes(folder, file)
        except NotFound as error:
            raise NotFound(
                f"{folder.rstrip('/')}/{name}", "no such file, nor one of that name + .gz"
            ) from error
    try:
        array = parse_idx(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{folder.rstrip('/')}/{file}: {error}") from error
    if array.ndim != axes:
        raise UserError(
            f"{folder.rstrip('/')}/{file}: is an array of shape {array.shape}, {what} have {axes}"
            f" {'axes' if axes > 1 else 'axis'}"
        )
    return array


def parse_idx(data: bytes) -> UInt8[np.ndarray, "..."]:
    """The array of bytes that an (unpacked) IDX file holds; not writable.

    Raises:
        UserError: says what is wrong with the header, or how many numbers are missing or too many.
    """
    if len(data) < 4 or data[:2] != b"\x00\x00":
        raise UserError(f"no IDX file: it begins with {data[:4].hex(' ') or 'nothing'}, needs 00 00")
    kind, axes = data[2], data[3]
    if kind != UNSIGNED_BYTE:
        raise UserError(
            f"holds numbers of IDX type {kind:#04x}, only {UNSIGNED_BYTE:#04x} (unsigned bytes) is read"
        )
    start = 4 + 4 * axes
    if len(data) < start:
        raise UserError(f"ends within its header of {start} bytes, has {len(data)}")
    shape = tuple(np.frombuffer(data, ">u4", axes, 4).tolist())
    wanted = int(np.prod(shape, dtype=object))  # of Python integers, which do not overflow
    if len(data) - start != wanted:
        raise UserError(f"shape {shape} needs {wanted} bytes after the header, has {len(data) - start}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_bytes(folder: str, name: str) -> bytes:
    """A whole file: through the project's store where it has one for the URL, else through fsspec (https, gs, ...).

    Raises:
        NotFound: there is no such file.
        StorageError: it cannot be read.
        UserError: fsspec does not know the scheme.
    """
    if not is_elsewhere(folder):
        return open_store(folder).read(name)
    url = f"{folder.rstrip('/')}/{name}"
    try:
        with fsspec.open(url, "rb") as file:
            data: bytes = file.read()
    except FileNotFoundError as error:
        # fsspec says so too where no server answers; the cause tells.
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise StorageError(url, str(error.__cause__)) from error
        raise NotFound(url, "no such file") from error
    except (OSError, ImportError) as error:
        raise StorageError(url, str(error)) from error
    return data
