"""Names of recordings: places as paths, URLs, patterns and links, each file once, no two names alike."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data_shards.mistake import UserError
from data_shards.sources.footage import Footage, find_footage
from data_shards.sources.inventory import Inventory
from data_shards.sources.shots import measure
from tests.data_shards.test_picture_folder import fill
from tests.films import numbered, whole, write


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")


def names(*places: object) -> list[str]:
    return [file.name for file in find_footage(tuple(map(str, places)))]


def test_inputs_are_files_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("x/one.avi", "x/deep/two.MP4", "y/three.webm", "y/notes.txt", "four.mkv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    assert names(str(tmp_path)) == ["four.mkv", "x/deep/two.MP4", "x/one.avi", "y/three.webm"]
    assert names(f"{tmp_path}/x/") == ["deep/two.MP4", "one.avi"]
    assert names(f"{tmp_path}/*/one.*") == ["x/one.avi"]
    assert names(f"file://{tmp_path}/y", f"{tmp_path}/four.mkv") == ["three.webm", "four.mkv"]
    assert names(f"{tmp_path}/four.mkv", f"{tmp_path}/four.mkv") == ["four.mkv"]
    (tmp_path / "br[1]").mkdir()
    (tmp_path / "br[1]" / "five.avi").write_bytes(b"1")
    assert names(f"{tmp_path}/br[1]") == ["five.avi"]  # a folder that is there is no pattern
    for nothing in (f"{tmp_path}/missing.avi", f"{tmp_path}/nowhere"):
        with pytest.raises(ValueError, match=f"input '{nothing}': does not exist"):
            names(nothing)
    with pytest.raises(ValueError, match="no video file"):
        names(f"{tmp_path}/*.mp3")
    with pytest.raises(ValueError, match="input is empty"):
        names()
    with pytest.raises(ValueError, match="https://"):
        names("https://example.org/a.mp4")


@pytest.mark.parametrize("content", [b"", b"This is no video.\n" * 100, b"RIFF\x00\x01\x00\x00AVI LIST"])
def test_what_is_not_video_is_named_before_any_clip_is_made(tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "a.avi", numbered(20))
    (tmp_path / "bad.avi").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.avi"):
        next(whole(tmp_path).clips("train", 1, 0))


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("a.mkv", (b"V_FFV1", b"V_NONE"), r"a\.mkv: is of a codec that cannot be decoded here; convert it"),
        (
            "a.mp4",
            (b"pasp" + bytes([0, 0, 0, 4, 0, 0, 0, 3]), b"pasp" + bytes([0, 0, 255, 255, 0, 0, 0, 1])),
            r"a\.mp4: has pixels 65535 as wide as high by its header; set it right",
        ),
    ],
)
def test_what_ffmpeg_opens_but_cannot_show_is_named(
    tmp_path: Path, name: str, change: tuple[bytes, bytes], sentence: str
) -> None:
    path = write(tmp_path / name, numbered(20), aspect=Fraction(4, 3))
    content = path.read_bytes()
    assert change[0] in content
    path.write_bytes(content.replace(*change))
    with pytest.raises(UserError, match=sentence):
        measure(Footage(str(tmp_path), name))


def test_sound_alone_is_not_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(ValueError, match=r"a\.mkv: has no video"):
        measure(Footage(str(tmp_path), "a.mkv"))


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "a.avi"
    with av.open(str(file), "w") as container:
        container.metadata["title"] = "ZZZZZZZZ"
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in numbered(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    data = file.read_bytes()
    assert b"ZZZZZZZZ" in data
    file.write_bytes(data.replace(b"ZZZZZZZZ", b"\xff\xfe\xe9\xe8ZZZZ"))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(file)).close()
    assert len(list(whole(file).clips("train", 9, 0))) == 2


def test_urls_of_files_are_unquoted(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    file = write(tmp_path / "a b" / "c d.mkv", numbered(4))
    (found,) = find_footage((f"file://{tmp_path}/a%20b/c%20d.mkv",))
    assert (found.name, str(found)) == ("c d.mkv", str(file))
    assert len(list(whole(Path(str(found))).clips("train", 9, 0))) == 1
    assert names(f"file://{tmp_path}/a%20b/c?d.mkv") == ["c d.mkv"]


def test_a_colon_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "plain.mkv", numbered(4)).rename(tmp_path / "a:b.mkv")
    monkeypatch.chdir(tmp_path)
    (found,) = find_footage(("a:b.mkv",))
    assert isinstance(found, Footage)
    found.open().close()


def test_one_file_by_several_paths_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "x" / "a.avi")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    monkeypatch.chdir(tmp_path)
    same = ("x/a.avi", f"{tmp_path}/x", f"file://{tmp_path}/x/a.avi", "x/../x/a.avi", "./x", "link")
    assert names(*same) == ["a.avi"]
    fill(tmp_path / "p" / "board", range(3))
    assert names("p", "p/board", f"{tmp_path}/p") == ["board"]


def test_two_names_of_one_file_are_one_video(tmp_path: Path) -> None:
    """In two splits it would leak."""
    for name in ("a.avi", "b.avi"):
        (tmp_path / name).write_bytes(b"same content")
    (tmp_path / "c.avi").hardlink_to(tmp_path / "a.avi")
    assert names(tmp_path) == ["a.avi", "b.avi"]


def test_links_are_followed_but_not_round_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "deep" / "b.avi", tmp_path / "in" / "a.avi")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "in")
    assert names(tmp_path / "in") == ["a.avi", "linked/deep/b.avi"]
    (tmp_path / "in" / "gone.avi").symlink_to(tmp_path / "nowhere.avi")
    account = Inventory()
    found = find_footage((str(tmp_path / "in"),), inventory=account)
    assert [file.name for file in found] == ["a.avi", "linked/deep/b.avi"]
    assert list(account.bad) == [f"{tmp_path}/in/gone.avi"]


def test_equal_names_get_the_folders_that_tell_them_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(*(tmp_path / place / "a.avi" for place in ("x/one", "y/one", "z", ".")), tmp_path / "z" / "b.avi")
    fill(tmp_path / "v" / "board", range(2))
    fill(tmp_path / "w" / "board", range(2))
    places = [tmp_path / place for place in ("x/one", "y/one", "z", "v/board", "w/board")]
    wanted = ["x/one/a.avi", "y/one/a.avi", "z/a.avi", "b.avi", "v/board", "w/board"]
    assert names(*places) == wanted
    for found, place in zip(find_footage(tuple(map(str, places))), wanted, strict=True):
        assert Path(str(found)) == (tmp_path / "z" / place if place == "b.avi" else tmp_path / place)
    monkeypatch.chdir(tmp_path)
    assert names("x/one", "a.avi", "z/a.avi") == ["one/a.avi", "a.avi", "z/a.avi"]
    assert os.path.samefile(str(find_footage(("x/one", "a.avi"))[0]), "x/one/a.avi")
