import gc
import io
import time
from collections.abc import Callable
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data_shards.manifest import Index, Shard
from data_shards.npy import read_npy


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@given(
    arrays.arrays(
        st.sampled_from(["u1", "<i8", "<u4", "<f4", ">f8", "?", "<U7"]),
        arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    )
)
def test_reads_what_numpy_writes(array: np.ndarray) -> None:
    read = read_npy(saved(np.ascontiguousarray(array).reshape(array.shape)))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        saved(np.zeros((3, 2)))[:-1],
        saved(np.zeros((3, 2))) + b"0",
        saved(np.asfortranarray(np.zeros((3, 2)))),
        saved(np.array([{}], dtype=object)),
        saved(np.zeros(2, [("a", "i4")])),
        saved(np.zeros(2)).replace(b"'<f8'", b"foo()"),
        saved(np.zeros(2)).replace(b"(2,), }", b"(-2,),}"),
    ],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"npy|bytes do not make"):
        read_npy(raw)


class Loop:
    """Garbage that lets another thread run while it is collected."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        time.sleep(0)


def test_threads_read_indexes_at_once() -> None:
    """CPython 3.11 fails here where headers are parsed as source: python's depth differs between threads."""
    sizes, offsets = np.ones((2, 2), np.int64), np.array([[512, 1536], [2560, 3584]])
    crcs = sizes.astype(np.uint32)
    data = Index(np.array(["a", "b"]), ("json", "x"), offsets, sizes, crcs).to_bytes()
    shard = Shard("a.tar", 2, 10240, "", "a.index.npz", "")
    failed: list[BaseException] = []

    def read() -> None:
        for _ in range(60):
            Loop()
            try:
                Index.from_bytes(data, shard)
            except BaseException as error:
                failed.append(error)

    def deep(calls: int, then: Callable[[], None]) -> None:
        deep(calls - 1, then) if calls else then()

    threads = [Thread(target=deep, args=(calls, read)) for calls in (0, 7, 20, 30)]
    before = gc.get_threshold()
    gc.set_threshold(20, 1, 1)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*before)
    assert not failed
