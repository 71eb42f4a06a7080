"""The manifest and the index survive their files; anything else is refused with the URL."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from data_shards.manifest import MANIFEST, Index, Manifest, Shard, read_manifest, split_shards
from data_shards.storage.store import StorageError

SHARD = Shard("train-000000-ab.tar", 3, 1024, "ab" * 32, "train-000000-ab.index.npz", "cd" * 32)
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
    assert (WHOLE.samples("train"), WHOLE.size("train")) == (6, 2048)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tree: tree | {"schema": 2},
        lambda tree: tree | {"surprise": 1},
        lambda tree: tree | {"splits": {"train": [{"name": "x"}]}},
        lambda tree: tree | {"splits": []},
        lambda tree: [tree],
        lambda tree: {k: v for k, v in tree.items() if k != "schema"},
        lambda tree: {k: v for k, v in tree.items() if k != "shape"},
    ],
)
def test_another_schema_is_refused(tmp_path: Path, spoil: object) -> None:
    tree = spoil(json.loads(WHOLE.to_json()))  # type: ignore[operator]
    (tmp_path / MANIFEST).write_text(json.dumps(tree))
    with pytest.raises(StorageError, match=f"{tmp_path}/{MANIFEST}: is damaged or not of schema 1"):
        read_manifest(str(tmp_path))


def test_half_a_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(WHOLE.to_json()[:100])
    with pytest.raises(StorageError, match="damaged"):
        read_manifest(str(tmp_path))


def test_an_unknown_split_is_named() -> None:
    assert split_shards(WHOLE, "val", "x") == (SHARD,)
    with pytest.raises(ValueError, match="split 'test' must be one of train, val of s3://b/x"):
        split_shards(WHOLE, "test", "s3://b/x")


def test_an_index_comes_back() -> None:
    index = Index(
        keys=np.array(["a", "bb"]),
        members=("json", "frames.npy.zst"),
        offsets=np.array([[512, 1536], [4096, 5120]]),
        sizes=np.array([[10, 2000], [11, 2**40]]),
        crcs=np.array([[1, 2], [3, 2**32 - 1]], np.uint32),
    )
    back = Index.from_bytes(index.to_bytes())
    assert len(back) == 2
    assert (back.members, back.column("frames.npy.zst")) == (index.members, 1)
    for field in dataclasses.fields(Index):
        if field.name != "members":
            np.testing.assert_array_equal(getattr(back, field.name), getattr(index, field.name))
    assert index.to_bytes() == index.to_bytes()  # no time of day inside


@pytest.mark.parametrize("data", [b"", b"garbage", b"PK\x03\x04garbage"])
def test_anything_else_is_no_index(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an index"):
        Index.from_bytes(data)
