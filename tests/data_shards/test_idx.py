"""The format of MNIST: what is read, and what is wrong with other files."""

import gzip
import socket
import struct
from pathlib import Path

import numpy as np
import pytest

from data_shards.sources.idx import parse_idx, read_images
from data_shards.storage.store import NotFound, StorageError


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


def test_a_server_that_does_not_answer_is_no_missing_file() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        folder = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        with pytest.raises(StorageError, match=f"{folder}/a: .*[Cc]onnect") as error:
            read_images(folder, "a")
    assert not isinstance(error.value, NotFound)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "begins with nothing"),
        (b"PK\x03\x04abc", "begins with 50 4b 03 04, needs 00 00"),
        (idx(np.zeros((2, 3, 3), np.float32), kind=0x0D), "type 0x0d, only 0x08"),
        (idx(np.zeros((2, 3, 3), np.uint8))[:10], "ends within its header of 16 bytes, has 10"),
        (
            idx(np.zeros((2, 3, 3), np.uint8))[:-1],
            r"shape \(2, 3, 3\) needs 18 bytes after the header, has 17",
        ),
        (idx(np.zeros((2, 3, 3), np.uint8)) + b"1", "needs 18 bytes after the header, has 19"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**31), "has 0"),
        (idx(np.zeros(5, np.uint8)), r"shape \(5,\), images have 3 axes"),
        (gzip.compress(idx(np.zeros((2, 3, 3), np.uint8)), mtime=0)[:-9], "Compressed file ended"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ValueError, match=f"/a: .*{words}"):
        read_images(str(tmp_path), "a")


def test_idx_axes_are_in_the_order_of_the_file() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(parse_idx(idx(array)), array)
