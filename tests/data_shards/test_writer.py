"""Shards that webdataset and tar read; a set is complete or absent, whatever happens."""

import errno
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from data_shards import writer
from data_shards.check import check
from data_shards.clip import Clip
from data_shards.encoding import decode
from data_shards.manifest import MANIFEST, Index, read_manifest
from data_shards.mistake import UserError
from data_shards.sources.sprites import Sprites
from data_shards.storage.folder import FolderStore
from data_shards.storage.store import StorageError
from data_shards.writer import _Tar, build
from tests.clips import Numbered, build_numbered
from tests.data_shards.test_scratch import left_by_a_dead_process


def test_the_tars_are_plain(tmp_path: Path) -> None:
    """GNU tar lists and extracts them, and what it extracts is what the index points to."""
    manifest = build_numbered(str(tmp_path), 5, truth=True, shard_bytes=1 << 20)
    (shard,) = manifest.splits["train"]
    data = (tmp_path / shard.name).read_bytes()
    index = Index.from_bytes((tmp_path / shard.index).read_bytes(), shard)
    listed = subprocess.run(["tar", "tf", tmp_path / shard.name], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == [f"{key}.{member}" for key in index.keys for member in index.members]
    subprocess.run(["tar", "xf", shard.name, "-C", "."], cwd=tmp_path, check=True)
    for row, key in enumerate(index.keys):
        for column, member in enumerate(index.members):
            start, size = int(index.offsets[row, column]), int(index.sizes[row, column])
            assert (tmp_path / f"{key}.{member}").read_bytes() == data[start : start + size]


@pytest.mark.parametrize("encoding", ["lossless", "h264"])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_shards(tmp_path: Path, encoding: str) -> None:
    """Plain webdataset, which leaves its files to the garbage collector."""
    manifest = build_numbered(str(tmp_path), 25, size=32, video_encoding=encoding)
    names = [str(tmp_path / shard.name) for shard in manifest.splits["train"]]
    assert len(names) > 1
    source = Numbered(size=32)
    seen = []
    for sample in webdataset.WebDataset(names, shardshuffle=False):
        clip = decode(
            sample["__key__"], {k: v for k, v in sample.items() if not k.startswith("__")}, manifest.sizes
        )
        seen.append(clip.key)
        made = source.clip("train", int(clip.key[-5:]), 0)
        assert clip.facts == made.facts
        if encoding == "lossless":
            np.testing.assert_array_equal(clip.frames, made.frames)
    assert seen == [f"train-{i:05d}" for i in range(25)]


def test_a_build_is_a_function_of_its_parameters(tmp_path: Path) -> None:
    """Names hold a hash of the content, so equal lists of shards are equal bytes."""
    a, b, other = (
        build_numbered(str(tmp_path / n), 30, 5, seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1))
    )
    assert a.splits == b.splits
    assert not {s.name for s in a.splits["train"]} & {s.name for s in other.splits["train"]}
    assert not check(str(tmp_path / "a")).problems


def test_the_manifest_tells_what_is_there(tmp_path: Path) -> None:
    manifest = build_numbered(str(tmp_path), 30, 7, truth=True, seed=4)
    assert manifest == read_manifest(str(tmp_path))
    assert manifest.source == "numbered"
    assert manifest.parameters == {"size": 8, "channels": 1, "truth": True, "video_encoding": "lossless"}
    assert (manifest.seed, manifest.shape, manifest.objects) == (4, (3, 8, 8, 1), 3)
    assert (manifest.samples("train"), manifest.samples("val")) == (30, 7)
    assert manifest.fields[0] == "frames"
    assert len(manifest.fields) == 7
    for shard in (s for shards in manifest.splits.values() for s in shards):
        assert (tmp_path / shard.name).stat().st_size == shard.bytes
        with tarfile.open(tmp_path / shard.name) as tar:
            assert len({name.partition(".")[0] for name in tar.getnames()}) == shard.samples


@dataclass(frozen=True)
class Broken(Numbered):
    """Fails at its 21st clip, in the way that `how` names."""

    how: str = "raises"

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        for index, clip in enumerate(super().clips(split, count, seed)):
            if index != 20:
                yield clip
            elif self.how == "raises":
                raise ValueError("clip 20: cannot be decoded")
            elif self.how == "shape":
                yield replace(clip, frames=clip.frames[:2])
            elif self.how == "field":
                yield replace(clip, visible_ids=clip.frames[..., 0])
            elif self.how == "type":
                yield replace(clip, facts={"bad": {1}})
            elif self.how == "key":
                yield replace(clip, key="a/../b")
            else:
                yield replace(clip, key="train-00003")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("raises", "clip 20: cannot be decoded"),
        ("shape", "clip train-00020: frames .* differ from the clips before"),
        ("field", "clip train-00020: .*visible_ids differ"),
        ("type", "clip train-00020: facts are not JSON"),
        ("key", "clip key 'a/../b' must be"),
        ("twice", "clip key 'train-00003' came twice in split train"),
    ],
)
def test_a_bad_clip_ends_the_build_and_loses_nothing(tmp_path: Path, how: str, sentence: str) -> None:
    """No manifest, no half shard; after the cause is gone the same command finishes, keeping what was uploaded."""
    with pytest.raises(ValueError, match=sentence):
        build("numbered", Broken(how=how), str(tmp_path), {"train": 40}, 0, 10_000)
    uploaded = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")}
    assert uploaded
    with pytest.raises(StorageError, match="interrupted build"):
        read_manifest(str(tmp_path))
    manifest = build_numbered(str(tmp_path), 40, shard_bytes=10_000)
    assert set(uploaded) < {shard.name for shard in manifest.splits["train"]}
    assert uploaded.items() <= {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.tar")}.items()
    findings = check(str(tmp_path))
    assert not findings.problems
    assert not findings.strays


def test_a_build_onto_a_set_is_refused(tmp_path: Path) -> None:
    build_numbered(str(tmp_path), 3)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match=f"{tmp_path}: a data set exists here already"):
        build_numbered(str(tmp_path), 5)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_of_two_builds_at_once_the_first_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def late_build(source: object) -> dict[str, object]:
            patch.undo()
            build_numbered(str(tmp_path), 10, seed=1)
            return vars(source)

        patch.setattr(writer, "asdict", late_build)

        with pytest.raises(FileExistsError, match="another build finished here first"):
            build_numbered(str(tmp_path), 10, seed=0)
    assert read_manifest(str(tmp_path)).seed == 1
    findings = check(str(tmp_path))
    assert not findings.problems
    assert len(findings.strays) == 2  # the shard and the index of the loser, told, in nobody's way


def test_what_the_store_garbles_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = FolderStore.put

    def garbling(self: FolderStore, name: str, source: bytes | Path, if_absent: bool = False) -> None:
        if isinstance(source, Path):
            source = source.read_bytes()[:-1] + b"!"
        put(self, name, source, if_absent)

    monkeypatch.setattr(FolderStore, "put", garbling)
    with pytest.raises(StorageError, match="differs from what was uploaded"):
        build_numbered(str(tmp_path), 3)
    assert not (tmp_path / MANIFEST).exists()


def test_a_source_without_clips_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="source numbered: gave no clips"):
        build_numbered(str(tmp_path), 0)
    assert os.listdir(tmp_path) == []


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    build_numbered(str(tmp_path / "a"), 20)
    with pytest.raises(ValueError, match="cannot be decoded"):
        build("numbered", Broken(), str(tmp_path / "b"), {"train": 40}, 0, 10_000)
    assert os.listdir(tmp_path / "scratch") == []


def test_what_a_killed_build_has_left_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, made = tmp_path / "scratch", list[str]()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    scratch.mkdir()
    left = left_by_a_dead_process("shards")
    added = _Tar.add

    def add(self: _Tar, *arguments: Any) -> int:
        made.extend(path.name for path in scratch.iterdir())
        return added(self, *arguments)

    monkeypatch.setattr(_Tar, "add", add)
    build_numbered(str(tmp_path / "set"), 1)
    assert left.name not in made
    assert [name.split("-")[:2] for name in made] == [["commonfate", "shards"]]


def test_an_index_of_other_bytes_leaves_the_set_that_stands_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two builds of the same clips, the second with another zlib, which began before the first ended."""
    packed = Index.to_bytes
    exists = FolderStore.exists

    def late(self: FolderStore, name: str) -> bool:
        found = exists(self, name)
        if name == MANIFEST:
            monkeypatch.setattr(FolderStore, "exists", exists)
            build_numbered(str(tmp_path), 3)
            monkeypatch.setattr(Index, "to_bytes", lambda index: packed(index) + b"otherwise")
        return found

    monkeypatch.setattr(FolderStore, "exists", late)
    with pytest.raises(FileExistsError, match="another build finished here first"):
        build_numbered(str(tmp_path), 3)
    findings = check(str(tmp_path))
    assert not findings.problems
    assert len(findings.strays) == 1


def test_a_full_temporary_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: tarfile.TarFile, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(
        ValueError, match=rf"{tmp_path}: no shard can be prepared there \(No space left"
    ) as error:
        build_numbered(str(tmp_path / "set"), 3)
    assert "set TMPDIR" in str(error.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk here that is always full")
def test_a_disk_that_is_full_is_named_though_it_refuses_what_was_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing the file tries again to write what the disk refused."""
    opened = tarfile.open

    def full(path: Path, *arguments: Any, **more: Any) -> tarfile.TarFile:
        path.symlink_to("/dev/full")
        return opened(path, *arguments, **more)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(tarfile, "open", full)
    with pytest.raises(UserError, match=r"no shard can be prepared there \(No space left"):
        build_numbered(str(tmp_path / "set"), 30)


def test_a_negative_seed_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seed -1 must be at least 0"):
        build_numbered(str(tmp_path), 3, seed=-1)


@pytest.mark.parametrize(
    ("source", "seed", "sentence"),
    [
        (Sprites(size=10**30), 0, "size 1000000000000000000000000000000 must be at most 65536"),
        (Sprites(frames=70_000, size=8), 0, "frames 70000 must be at most 65536"),
        (Sprites(frames=3, size=60_000), 0, "frames 3, size 60000: a clip takes 10800000000 bytes"),
        (Sprites(), 2**63, "seed 9223372036854775808 must be at least 0, and below 9223372036854775808"),
    ],
)
def test_what_would_not_be_read_again_is_refused_before_a_clip_is_made(
    tmp_path: Path, source: Sprites, seed: int, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        build("sprites", source, str(tmp_path), {"train": 1}, seed)
    assert not list(tmp_path.iterdir())
