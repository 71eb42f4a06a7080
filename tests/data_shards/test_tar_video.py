"""Videos in other people's tars: what is taken, what is told, and what a hostile one cannot do."""

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_shards.__main__ import main
from data_shards.manifest import read_manifest
from data_shards.sources.footage import find_footage
from data_shards.sources.inventory import DESCRIBED, Inventory
from data_shards.sources.tar_video import TEXT, TarVideo
from data_shards.sources.video import VideoFiles
from tests.films import numbered, numbers, whole, write


def film(folder: Path, base: int = 0, ending: str = "mp4", count: int = 12) -> bytes:
    return write(folder / f"film.{ending}", numbered(count, base=base)).read_bytes()


def pack(path: Path, members: Iterable[tuple[str, bytes]], how: int = tarfile.USTAR_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=how) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def search(*places: object) -> tuple[list[str], Inventory]:
    account = Inventory()
    return [file.name for file in find_footage(tuple(map(str, places)), inventory=account)], account


def names_of(account: Inventory, reason: str) -> Any:
    return account.summary()[reason]["names"]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three tars as video2dataset writes them, two samples each; every video begins with another number."""
    for number in range(3):
        members = []
        for sample in range(2):
            key = f"{number:05d}{sample:04d}"
            members += [
                (f"{key}.mp4", film(tmp_path, 40 * number + 20 * sample)),
                (f"{key}.txt", f"a film of numbers, {key}".encode()),
                (f"{key}.json", json.dumps({"key": key, "url": "http://nowhere/"}).encode()),
            ]
        pack(tmp_path / "in" / f"clips-{number:06d}.tar", members)
    return tmp_path / "in"


def test_the_videos_of_a_tar_are_videos(shards: Path, tmp_path: Path) -> None:
    (first, second), account = find_footage((f"{shards}/clips-000001.tar",)), Inventory()
    assert [str(video) for video in (first, second)] == [
        f"{shards}/clips-000001.tar/000010000.mp4",
        f"{shards}/clips-000001.tar/000010001.mp4",
    ]
    clips = list(whole(shards / "clips-000001.tar").clips("train", 9, 0))
    assert sorted(numbers(clip)[0] for clip in clips) == [40, 44, 48, 60, 64, 68]
    (tmp_path / "one.mp4").write_bytes(film(tmp_path, 40))
    plain = list(whole(tmp_path / "one.mp4").clips("train", 9, 0))
    packed = [clip for clip in clips if clip.facts["file"] == "clips-000001.tar/000010000.mp4"]
    for one, other in zip(plain, packed, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
    assert account.bad == {}


def test_tars_are_files_folders_patterns_and_braces(shards: Path) -> None:
    everything, account = search(shards)
    assert len(everything) == 6
    assert account.summary() == {}
    assert search(f"{shards}/clips-*.tar")[0] == everything
    assert search(f"{shards}/clips-{{000000..000002}}.tar")[0] == everything
    assert search(f"{shards}/clips-{{000000,000002}}.tar")[0] == everything[:2] + everything[4:]
    some, account = search(f"{shards}/clips-{{000001..000004}}.tar")
    assert some == everything[2:]
    assert len(account.bad) == 2  # all that are missing, at once
    (shards / "{a,b}.tar").write_bytes((shards / "clips-000000.tar").read_bytes())
    assert len(search(f"{shards}/{{a,b}}.tar")[0]) == 2  # a file of that name


def test_tars_beside_videos_are_told(shards: Path, tmp_path: Path) -> None:
    """They are often what the videos were packed in."""
    (shards / "000000000.mp4").write_bytes(film(tmp_path))
    names, account = search(shards)
    assert names == ["000000000.mp4"]
    assert account.summary()["tars beside videos"]["count"] == 3


def test_splits_take_whole_tars_then_whole_videos(shards: Path) -> None:
    def tars(source: VideoFiles, split: str, part: int) -> set[str]:
        return {str(clip.facts["file"]).split("/")[part] for clip in source.clips(split, 99, 0)}

    source = whole(shards, val_share=0.34, test_share=0.0)
    assert len(tars(source, "val", 0)) == 1
    assert len(tars(source, "train", 0)) == 2
    assert not tars(source, "val", 0) & tars(source, "train", 0)
    source = whole(shards, val_share=0.2, test_share=0.0)
    assert len(tars(source, "val", 1)) == 1
    assert len(tars(source, "train", 1)) == 5


def test_a_set_says_what_its_tars_say(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    words = [
        "build",
        "video",
        "--input",
        f"{shards}/clips-{{000000..000002}}.tar",
        "--out",
        out,
        "--size",
        "16",
    ]
    assert main([*words, "--frames", "4", "--cut", "2", "--val-share", "0.34", "--test-share", "0"]) == 0
    assert "described by their tars, in the manifest: 6" in capsys.readouterr().out
    statistics = read_manifest(out).statistics
    assert statistics["files"] == 6
    assert statistics["described"][3] == {
        "file": "clips-000001.tar/000010001.mp4",
        "key": "000010001",
        "txt": "a film of numbers, 000010001",
        "json": '{"key": "000010001", "url": "http://nowhere/"}',
    }


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    members = [(f"{n:04d}.{kind}", b"x" * 5000) for n in range(150) for kind in ("mp4", "txt", "json")]
    names, account = search(pack(tmp_path / "a.tar", members))
    assert len(names) == 150
    assert len(account.described) == DESCRIBED
    assert account.described[0]["txt"] == account.described[0]["json"] == "x" * TEXT


def test_keys_that_are_double_or_dotted_are_told(tmp_path: Path) -> None:
    members = [
        ("./v1.2.first.mp4", b"1"), ("./v1.2.first.txt", b"one"), ("./v1.2.second.mp4", b"2"), ("b.mp4", b"3"),
        ("b.mp4", b"4"), ("b.webm", b"5"), ("c.MP4", b"6"), ("b.mp4", b"7"), ("c.jpg", b"8"), ("d.e/f.mov", b"9"),
        ("c.pyd", b"cos\nsystem\n(S'false'\ntR."),
    ]  # fmt: skip
    names, account = search(pack(tmp_path / "a.tar", members))
    wanted = ["v1.2.first.mp4", "v1.2.second.mp4", "b.mp4", "c.MP4", "d.e/f.mov"]
    assert names == [f"a.tar/{name}" for name in wanted]
    assert names_of(account, "keys with dots, taken whole") == [
        f"{tmp_path}/a.tar/{name}" for name in wanted[:2]
    ]
    doubles = account.summary()["keys that come again in a tar"]
    assert doubles["names"] == [f"{tmp_path}/a.tar/b.mp4", f"{tmp_path}/a.tar/b.webm"]
    assert account.summary()["other files"]["count"] == 2
    assert account.described[0] == {"file": "a.tar/v1.2.first.mp4", "key": "v1.2.first", "txt": "one"}
    assert account.bad == {}


UNSAFE = (
    "../out.mp4",
    "a/../../out.mp4",
    "/etc/out.mp4",
    "C:\\out.mp4",
    "a\\..\\out.mp4",
    "a\nb.mp4",
    "\x1b[2J.mp4",
)


def test_names_that_lead_elsewhere_and_hidden_ones_are_left_out(tmp_path: Path) -> None:
    members = [(name, b"1") for name in (*UNSAFE, "._a.mp4", "__MACOSX/a.mp4", "a.mp4")]
    names, account = search(pack(tmp_path / "a.tar", members, tarfile.PAX_FORMAT))
    assert names == ["a.tar/a.mp4"]
    assert account.summary()["unsafe names in tars"]["count"] == len(UNSAFE)
    assert account.summary()["hidden files"]["count"] == 2


def test_links_in_a_tar_lead_nowhere(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo("link.mp4")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    with pytest.raises(ValueError, match=r"a\.tar: has no video in it"):
        find_footage((str(tmp_path / "a.tar"),))


def halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


def without_end(data: bytes) -> bytes:
    """At the end of a member, where tarfile sees nothing amiss."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        last = tar.getmembers()[-1]
    return data[: last.offset_data + -(-last.size // 512) * 512]


def with_a_damaged_header(data: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        second = tar.getmembers()[3]
    return data[: second.offset] + b"\xff" * 512 + data[second.offset + 512 :]


def cut_in_a_header(data: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return data[: tar.getmembers()[3].offset + 100]


@pytest.mark.parametrize("cut", [halved, without_end, with_a_damaged_header, cut_in_a_header])
def test_a_tar_cut_short_is_named_and_its_beginning_can_be_used(
    shards: Path, tmp_path: Path, cut: Callable[[bytes], bytes]
) -> None:
    bad = shards / "clips-000001.tar"
    bad.write_bytes(cut(bad.read_bytes()))
    with pytest.raises(ValueError, match=r"clips-000001\.tar: is cut short or damaged after byte"):
        next(whole(shards).clips("train", 1, 0))
    source = whole(shards, skip_bad=True)
    files = {str(clip.facts["file"]) for clip in source.clips("train", 99, 0)}
    assert {name for name in files if "000001.tar" not in name} == {
        f"clips-00000{tar}.tar/0000{tar}000{n}.mp4" for tar in (0, 2) for n in (0, 1)
    }
    assert "clips-000001.tar/000010000.mp4" in files or cut is halved
    assert source.statistics()["inputs_left_out"]["bad inputs"]["count"] == 1  # type: ignore[index]


@pytest.mark.parametrize("how", ["gz", "bz2", "xz"])
def test_packed_tars_are_refused_unread(tmp_path: Path, how: str) -> None:
    """A few kilobytes can stand for gigabytes."""
    with tarfile.open(tmp_path / "a.tar", f"w:{how}") as tar:  # type: ignore[call-overload]
        info = tarfile.TarInfo("a.mp4")
        info.size = 1 << 22
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(
        ValueError, match=r"a\.tar: is packed by \w+; tars of WebDataset are plain, unpack it"
    ):
        find_footage((str(tmp_path / "a.tar"),))


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, pax: dict[str, str] | None = None) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.pax_headers = size, kind, pax or {}
    return info.tobuf(tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "data",
    [
        header("a.mp4", 1 << 50) + b"1" * 512,
        header("a" * 90, 1 << 40, tarfile.GNUTYPE_LONGNAME) + b"1" * 512,
        header("a" * 90, 1 << 40, tarfile.XHDTYPE) + b"1" * 512,
        header("a.mp4", 3, pax={"size": "-4096"}) + b"1" * 512 + bytes(1024),
        header("a.mp4", 3, pax={"size": "9" * 30}) + b"1" * 512 + bytes(1024),
        header(
            "a.mp4",
            3,
            pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)},
        )
        + b"1\n0\n1\n".ljust(512, b"\0")
        + bytes(1024),
        b"\xff" * 4096,
        b"",
    ],
)
def test_sizes_that_a_tar_claims_are_not_believed(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.tar"):
        next(whole(tmp_path / "a.tar", skip_bad=True).clips("train", 1, 0))


@pytest.mark.parametrize(
    "place",
    [
        "pipe:cat /etc/passwd", "pipe:touch {out}/made", "pipe:touch {out}/made #.tar", "PIPE:touch {out}/made",
        "pipe:touch {out}/made-{{0..3}}.tar", "http://127.0.0.1/a.tar", "htgs://bucket/a.tar", "gs://bucket/a.tar",
        "ais://bucket/a.tar", "hf://datasets/a/b.tar", "sftp://host/a.tar", "scp://host/a.tar", "ftps://host/a.tar",
        "-", "a.tar::pipe:touch {out}/made", "{out}/{{0,1::pipe:touch made}}.tar",
    ],
)  # fmt: skip
def test_addresses_that_webdataset_would_run_are_no_places(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    def run(*words: object, **_: object) -> None:
        raise AssertionError(f"a command was run: {words}")

    monkeypatch.setattr(subprocess, "Popen", run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOPEN_REWRITE", "a=pipe:touch made")
    with pytest.raises(ValueError):
        find_footage((place.format(out=tmp_path),))
    assert list(tmp_path.iterdir()) == []


def test_a_playlist_in_a_tar_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.mp4").write_bytes(film(tmp_path))
    for text in ("ffconcat version 1.0\nfile film.mp4\n", "#EXTM3U\n#EXTINF:1,\nfilm.mp4\n#EXT-X-ENDLIST\n"):
        pack(tmp_path / "a.tar", [("a.mp4", text.encode())])
        with pytest.raises(ValueError, match=r"a\.tar/a\.mp4: cannot be opened as video"):
            next(whole(tmp_path / "a.tar").clips("train", 1, 0))


def test_members_keep_their_tar_in_names_of_several_places(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "clips-000000.tar").write_bytes((shards / "clips-000000.tar").read_bytes())
    found = find_footage((f"{shards}/clips-000000.tar", f"{tmp_path}/more"))
    assert [video.name for video in found] == [
        f"{folder}/clips-000000.tar/00000000{n}.mp4" for folder in ("in", "more") for n in (0, 1)
    ]
    assert all(isinstance(video, TarVideo) for video in found)
    for video in found:
        video.open().close()  # type: ignore[union-attr]


@pytest.mark.service
def test_tars_in_a_bucket(shards: Path, s3: object) -> None:
    from data_shards.storage.place import open_store

    url = s3.bucket()  # type: ignore[attr-defined]
    for file in shards.iterdir():
        open_store(url).put(f"in/{file.name}", file)
    here = whole(shards)
    there = VideoFiles(**(vars(here) | {"input": (f"{url}/in/clips-{{000000..000002}}.tar",)}))
    clips, others = (list(source.clips("train", 99, 0)) for source in (here, there))
    assert len(clips) == len(others) == 18
    for clip, other in zip(clips, others, strict=True):
        assert clip.facts == other.facts
        np.testing.assert_array_equal(clip.frames, other.frames)
