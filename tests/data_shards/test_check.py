"""Check finds each kind of damage, and leakage, and says where."""

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_shards.__main__ import main
from data_shards.check import check
from data_shards.clip import Clip
from data_shards.encoding import encode_array
from data_shards.manifest import MANIFEST, Index, read_manifest
from data_shards.writer import build
from tests.clips import Numbered, build_numbered


def test_a_whole_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_numbered(str(tmp_path), 30, 5, truth=True)
    assert main(["check", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "train: 30 clips" in printed.out
    assert printed.err == ""


def flip(url: Path, name: str) -> None:
    data = bytearray((url / name).read_bytes())
    data[len(data) // 2] ^= 16
    (url / name).write_bytes(data)


def truncate(url: Path, name: str) -> None:
    data = (url / name).read_bytes()
    (url / name).write_bytes(data[: len(data) // 2])


def remove(url: Path, name: str) -> None:
    (url / name).unlink()


@pytest.mark.parametrize("part", ["name", "index"])
@pytest.mark.parametrize("harm", [flip, truncate, remove])
def test_damage_is_one_line_with_the_url(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: object, part: str
) -> None:
    manifest = build_numbered(str(tmp_path), 30)
    name = getattr(manifest.splits["train"][1], part)
    harm(tmp_path, name)  # type: ignore[operator]
    assert main(["check", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/{name}" in line


def rewrite(url: Path, edit: object, part: str = "name") -> None:
    """Change a shard or its index, and let the manifest agree: only a look inside finds it."""
    manifest = read_manifest(str(url))
    shard = manifest.splits["train"][0]
    path = url / getattr(shard, part)
    path.write_bytes(edit(path.read_bytes()))  # type: ignore[operator]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    size = (url / shard.name).stat().st_size
    changed = (
        dataclasses.replace(shard, bytes=size, sha256=digest)
        if part == "name"
        else dataclasses.replace(shard, bytes=size, index_sha256=digest)
    )
    splits = manifest.splits | {"train": (changed, *manifest.splits["train"][1:])}
    (url / MANIFEST).write_bytes(dataclasses.replace(manifest, splits=splits).to_json())


def test_an_index_that_points_elsewhere(tmp_path: Path) -> None:
    shard = build_numbered(str(tmp_path), 30).splits["train"][0]

    def shifted(data: bytes) -> bytes:
        index = Index.from_bytes(data, shard)
        return dataclasses.replace(index, offsets=index.offsets + 512).to_bytes()

    rewrite(tmp_path, shifted, "index")
    assert "other members than its index" in check(str(tmp_path)).problems[0]


def test_a_sample_that_cannot_be_decoded(tmp_path: Path) -> None:
    """Right hashes, wrong content: as a defect of the writer would leave it."""

    build_numbered(str(tmp_path), 30)
    manifest = read_manifest(str(tmp_path))
    shard = manifest.splits["train"][0]
    index = Index.from_bytes((tmp_path / shard.index).read_bytes(), shard)
    start, size = int(index.offsets[0, 1]), int(index.sizes[0, 1])
    wrong = encode_array(np.zeros((1, 1, 1, 1), np.uint8)).ljust(size, b"\0")
    rewrite(tmp_path, lambda data: data[:start] + wrong + data[start + size :])

    def agreeing(data: bytes) -> bytes:
        index = Index.from_bytes(data, shard)
        crcs = index.crcs.copy()
        crcs[0, 1] = zlib.crc32(wrong)
        return dataclasses.replace(index, crcs=crcs).to_bytes()

    rewrite(tmp_path, agreeing, "index")
    (problem,) = check(str(tmp_path)).problems
    assert f"{shard.name}: sample train-00000: " in problem


def test_a_manifest_that_counts_wrong(tmp_path: Path) -> None:
    build_numbered(str(tmp_path), 30)
    tree = json.loads((tmp_path / MANIFEST).read_text())
    shard = tree["splits"]["train"][0]
    shard["samples"] += 1
    (tmp_path / MANIFEST).write_text(json.dumps(tree))
    told = f"is damaged: not an index of {shard['name']}: holds 10 samples, the manifest says 11"
    assert check(str(tmp_path)).problems == [f"{tmp_path}/{shard['index']}: {told}"]


@dataclasses.dataclass(frozen=True)
class Leaking(Numbered):
    """The third clip of each split has the same frames."""

    same_key: bool = False

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        for index, clip in enumerate(super().clips(split, count, seed)):
            if index == 2:
                key = "shared" if self.same_key else clip.key
                yield dataclasses.replace(clip, key=key, frames=np.full_like(clip.frames, 7))
            else:
                yield clip


@pytest.mark.parametrize("same_key", [False, True])
def test_leakage_between_splits(tmp_path: Path, same_key: bool) -> None:
    build("numbered", Leaking(same_key=same_key), str(tmp_path), {"train": 5, "val": 5}, 0)
    problems = check(str(tmp_path)).problems
    assert any("leakage: clip " in p and "of val has the frames of" in p for p in problems)
    assert any("key shared is in train and in val" in p for p in problems) == same_key
    assert len(problems) == 1 + same_key


def test_many_problems_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = build_numbered(str(tmp_path), 200, shard_bytes=5000)
    for shard in manifest.splits["train"]:
        (tmp_path / shard.name).unlink()
    assert main(["check", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1] == f"and {len(manifest.splits['train']) - 10} more problems"
