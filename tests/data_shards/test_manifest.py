"""The manifest and the index survive their files; anything else is refused with the URL."""

import dataclasses
import io
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_shards.manifest import MANIFEST, Index, Manifest, Shard, read_manifest, split_shards
from data_shards.storage.store import StorageError

SHARD = Shard("train-000000-ab.tar", 3, 3072, "ab" * 32, "train-000000-ab.index.npz", "cd" * 32)
WHOLE = Manifest(
    source="sprites",
    parameters={"size": 64},
    seed=3,
    video_encoding="lossless",
    shape=(11, 64, 64, 3),
    fields=("frames", "visible_ids"),
    objects=4,
    splits={"train": (SHARD, SHARD), "val": (SHARD,)},
    statistics={"seconds": 1.5},
)


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(WHOLE.to_json())
    assert read_manifest(str(tmp_path)) == WHOLE
    assert (WHOLE.samples("train"), WHOLE.size("train")) == (6, 6144)


def edited(path: str, value: object) -> bytes:
    """The whole manifest with the field at `path` set, or left out where the value is `...`."""
    tree = json.loads(WHOLE.to_json())
    *groups, last = path.split(".")
    node = tree
    for name in groups:
        node = node[int(name)] if isinstance(node, list) else node[name]
    if value is ...:
        del node[last]
    else:
        node[int(last) if isinstance(node, list) else last] = value
    return json.dumps(tree).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", 2),
        ("schema", True),
        ("schema", ...),
        ("surprise", 1),
        ("shape", ...),
        ("shape", ["8", "16", "16", "3"]),
        ("shape", [8, 16, 16]),
        ("shape", [-8, 16, 16, 3]),
        ("shape", [8, 16, 16, 0]),
        ("shape", [10**9, 10**9, 10**9, 3]),
        ("shape", [2**15, 2**15, 1, 3]),
        ("shape", [True, 16, 16, 3]),
        ("source", "../x"),
        ("seed", 1.5),
        ("seed", 2**64),
        ("video_encoding", "gif"),
        ("fields", ["visible_ids"]),
        ("fields", ["frames", "frames"]),
        ("fields", ["frames", "secrets"]),
        ("fields", "frames"),
        ("objects", 10**6),
        ("objects", None),
        ("parameters", []),
        ("statistics", float("nan")),
        ("statistics", {"a": float("inf")}),
        ("statistics", {"a": "\ud800"}),
        ("splits", []),
        ("splits", {"../../etc": [vars(SHARD)]}),
        ("splits", {"a/b": [vars(SHARD)]}),
        ("splits", {"train": []}),
        ("splits", {"train": [{"name": "x"}]}),
        ("splits.val.0.name", "../x.tar"),
        ("splits.val.0.name", "/x.tar"),
        ("splits.val.0.name", "s3://b/x.tar"),
        ("splits.val.0.name", "x/y.tar"),
        ("splits.val.0.name", "..tar"),
        ("splits.val.0.name", "x.tar\n"),
        ("splits.val.0.name", "x\u0000.tar"),
        ("splits.val.0.index", "../x.index.npz"),
        ("splits.val.0.samples", "400"),
        ("splits.val.0.samples", 10**15),
        ("splits.val.0.samples", 5),
        ("splits.val.0.samples", 0),
        ("splits.val.0.samples", 3.0),
        ("splits.val.0.bytes", -1),
        ("splits.val.0.bytes", 10**30),
        ("splits.val.0.sha256", "ab"),
        ("splits.val.0.surprise", 1),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(tmp_path: Path, path: str, value: object) -> None:
    (tmp_path / MANIFEST).write_bytes(edited(path, value))
    with pytest.raises(StorageError, match=f"{tmp_path}/{MANIFEST}: is damaged or not of schema 1") as raised:
        read_manifest(str(tmp_path))
    text = str(raised.value)
    assert "\n" not in text
    assert len(text) < 400
    if path not in ("schema", "statistics") and "beyond 64 bits" not in text:
        assert path.split(".")[0] in text


@pytest.mark.parametrize(
    "data",
    [
        WHOLE.to_json()[:100],
        b"",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"parameters": ' + b"[" * 70 + b"]" * 70 + b"}",
        b"[" + WHOLE.to_json() + b"]",
        WHOLE.to_json().replace(b'"seed": 3', b'"seed": 3, "seed": 4'),
        WHOLE.to_json().replace(b'"seed": 3', b'"seed": ' + b"9" * 5000),
        WHOLE.to_json().replace(b'"seed": 3', b'"seed": 1e999'),
        WHOLE.to_json() + b"{}",
        WHOLE.to_json()[:-1] + b', "more": [' + b"[]," * 200_000 + b"1]}",
        WHOLE.to_json().ljust((16 << 20) + 1),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(data)
    tracemalloc.start()
    with pytest.raises(StorageError, match=MANIFEST) as raised:
        read_manifest(str(tmp_path))
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()
    assert len(str(raised.value)) < 300


def test_an_unknown_split_is_named() -> None:
    assert split_shards(WHOLE, "val", "x") == (SHARD,)
    with pytest.raises(ValueError, match="split 'test' must be one of train, val of s3://b/x"):
        split_shards(WHOLE, "test", "s3://b/x")


INDEX = Index(
    keys=np.array(["a", "bb"]),
    members=("json", "frames.npy.zst"),
    offsets=np.array([[512, 1536], [4096, 5120]]),
    sizes=np.array([[10, 2000], [11, 2**40]]),
    crcs=np.array([[1, 2], [3, 2**32 - 1]], np.uint32),
)
INDEXED = replace(SHARD, samples=2, bytes=2**40 + 5120 + 1024)


def test_an_index_comes_back() -> None:
    back = Index.from_bytes(INDEX.to_bytes(), INDEXED)
    assert len(back) == 2
    assert (back.members, back.column("frames.npy.zst")) == (INDEX.members, 1)
    for field in dataclasses.fields(Index):
        if field.name != "members":
            np.testing.assert_array_equal(getattr(back, field.name), getattr(INDEX, field.name))
    assert INDEX.to_bytes() == INDEX.to_bytes()  # no time of day inside


@pytest.mark.parametrize("data", [b"", b"garbage", b"PK\x03\x04garbage", INDEX.to_bytes()[:-30]])
def test_anything_else_is_no_index(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not an index of train-000000-ab.tar"):
        Index.from_bytes(data, INDEXED)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keys", np.array(["a", "../x"])),
        ("keys", np.array(["a", "/x"])),
        ("keys", np.array(["a", "a"])),
        ("keys", np.array(["a", "b\n"])),
        ("keys", np.array(["a", ""])),
        ("keys", np.array(["a", "x" * 61])),
        ("keys", np.array([1, 2])),
        ("keys", np.array(["a"])),
        ("keys", np.zeros(2, "S3")),
        ("members", np.array(["json", "../frames.npy.zst"])),
        ("members", np.array(["json", "json"])),
        ("members", np.array(["json"])),
        ("members", np.array([], "U4")),
        ("offsets", np.array([[512, 1536], [4096, 2**62]])),
        ("offsets", np.array([[-512, 1536], [4096, 5120]])),
        ("offsets", np.array([[512, 1536], [1024, 5120]])),
        ("offsets", np.array([[512, 1536], [4096, 5120]], np.int32)),
        ("offsets", np.zeros((2, 2))),
        ("offsets", np.zeros((100_000, 100), np.int64)),
        ("sizes", np.array([[10, 2000], [11, 2**62]])),
        ("sizes", np.array([[10, 2000], [11, 20]])),
        ("sizes", np.array([[10, 2000], [-11, 2**40]])),
        ("crcs", np.zeros((2, 2), np.int64)),
    ],
)
def test_an_index_that_does_not_fit_its_shard_is_refused(name: str, value: np.ndarray) -> None:
    """Where an array is larger than the shard allows, it is not unpacked."""
    arrays = vars(INDEX) | {"members": np.array(INDEX.members), name: value}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"not an index of train-000000-ab.tar"):
        Index.from_bytes(buffer.getvalue(), INDEXED)
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


def test_objects_in_an_index_are_not_made() -> None:
    buffer = io.BytesIO()
    arrays = vars(INDEX) | {"members": np.array(INDEX.members), "keys": np.array([print, print], object)}
    np.savez_compressed(buffer, **arrays)
    with pytest.raises(ValueError, match="not a plain npy"):
        Index.from_bytes(buffer.getvalue(), INDEXED)
