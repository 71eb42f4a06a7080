"""Folders of numbered pictures as videos: order, rate, gaps, and what is wrong with them in a sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_shards.__main__ import main
from data_shards.manifest import read_manifest
from data_shards.sources.decoding import Damaged
from data_shards.sources.footage import find_footage
from data_shards.sources.picture_folder import PictureFolder, picture_folders
from data_shards.sources.shots import decode, measure
from data_shards.sources.video import VideoFiles
from tests.films import NO_CUTS, numbered, numbers, whole


def fill(folder: Path, which: range | list[int], name: str = "{:04d}.png", **size: int) -> Path:
    """Pictures that show their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in which:
        Image.fromarray(numbered(1, base=number, **size)[0]).save(folder / name.format(number))
    return folder


@pytest.mark.parametrize(
    "name", ["{:04d}.png", "img{}.png", "f_{:05d}_left.jpg", "cam2_{:03d}_640x480.PNG", "{}.jpeg"]
)
def test_the_number_in_the_name_orders_the_pictures(tmp_path: Path, name: str) -> None:
    """Not the alphabet, in which 10 stands before 9."""
    folder = fill(tmp_path / "board", range(1, 13), name)
    clips = list(whole(folder).clips("train", 100, 0))
    assert [numbers(clip) for clip in clips] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    assert [clip.facts["file"] for clip in clips] == ["board"] * 3
    assert [clip.facts["first_frame"] for clip in clips] == [0, 4, 8]
    assert [(clip.facts["time"], clip.facts["fps"]) for clip in clips] == [(0, 25), (0.16, 25), (0.32, 25)]


def test_the_rate_given_is_that_of_the_pictures(tmp_path: Path) -> None:
    source = whole(fill(tmp_path / "a", range(8)), fps=5.0)
    clips = list(source.clips("train", 100, 0))
    assert [numbers(clip) for clip in clips] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [(clip.facts["time"], clip.facts["fps"]) for clip in clips] == [(0, 5), (0.8, 5)]


def test_a_gap_ends_the_take(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a", [*range(3, 9), *range(10, 15), 20])
    source = whole(folder, stride=1)
    starts = [numbers(clip)[0] for clip in source.clips("train", 100, 0)]
    assert starts == [3, 4, 5, 10, 11]
    every_third = fill(tmp_path / "b", [0, 3, 6, 9, 15, 18, 21, 24])
    assert [numbers(clip) for clip in whole(every_third).clips("train", 9, 0)] == [
        [0, 3, 6, 9],
        [15, 18, 21, 24],
    ]


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["1.25", "1.5", "0.75", "2", "1", "1.75"], [2, 4, 0, 1, 5, 3]),
        (["0001.50", "0001.00", "0000.50", "0002.00"], [2, 1, 0, 3]),
        (["t0.10", "t0.5", "t0.9", "t0.7", "t0.3"], [0, 4, 1, 3, 2]),
        (["v1.9", "v1.10", "v1.8", "v1.11"], [2, 0, 1, 3]),  # versions: decimals would be uneven
        (["1305031102.175304", "1305031102.211214", "1305031102.143238"], [2, 0, 1]),
    ],
)
def test_decimals_are_numbers(tmp_path: Path, names: list[str], order: list[int]) -> None:
    for name in names:
        fill(tmp_path, [0], name + ".png")
    (folder,) = find_footage((str(tmp_path),))
    assert isinstance(folder, PictureFolder)
    assert folder.files == tuple(f"{names[place]}.png" for place in order)


def test_time_stamps_with_jitter_are_one_take(tmp_path: Path) -> None:
    """Nanoseconds of a camera of 20 pictures a second; one picture is missing."""
    rng = np.random.default_rng(0)
    stamps = [
        1403636579763555584 + n * 50_000_000 + int(rng.integers(-3000, 3000)) for n in range(25) if n != 12
    ]
    for number, stamp in enumerate(stamps):
        Image.fromarray(numbered(1, base=number)[0]).save(tmp_path / f"{stamp}.png")
    source = whole(tmp_path, fps=20.0)
    starts = [numbers(clip)[0] for clip in source.clips("train", 99, 0)]
    assert starts == [0, 4, 8, 12, 16, 20]
    assert source.statistics()["cuts"] == 1


def test_each_folder_is_a_video(tmp_path: Path) -> None:
    for name in ("frames/board", "frames/box", "more/lemming"):
        fill(tmp_path / name, range(4))
    (tmp_path / "frames" / "readme.txt").write_text("no picture")

    def found(*places: str) -> list[str]:
        return [
            recording.name for recording in find_footage(tuple(str(tmp_path / place) for place in places))
        ]

    assert found("") == ["frames/board", "frames/box", "more/lemming"]
    assert found("more/lemming", "frames") == ["lemming", "board", "box"]
    assert found("frames/bo*") == ["board", "box"]
    assert [str(r) for r in find_footage((f"{tmp_path}/more/lemming",))] == [f"{tmp_path}/more/lemming"]
    assert [str(r) for r in find_footage((f"{tmp_path}/more",))] == [f"{tmp_path}/more/lemming"]


def test_pictures_beside_videos_are_not_meant(tmp_path: Path) -> None:
    (tmp_path / "a.avi").write_bytes(b"")
    fill(tmp_path / "thumbnails", range(2))
    assert [recording.name for recording in find_footage((str(tmp_path),))] == ["a.avi"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["cover.png"], "cover.png: has no number in its name"),
        (
            ["a1.png", "b2.png"],
            "b2.png: differs from a1.png in more than its number; give each video a folder",
        ),
        (["1_1.png", "1_2.png", "2_1.png"], "differ in 2 numbers; give each video a folder"),
        (["1.jpg", "1.png"], "1.png: has the same number as 1.jpg"),
        (["7.png", "07.png"], "7.png: has the same number as 07.png"),
    ],
)
def test_bad_names_are_one_sentence(tmp_path: Path, names: list[str], words: str) -> None:
    for name in names:
        fill(tmp_path, [0], name)
    with pytest.raises(ValueError, match=words) as error:
        find_footage((str(tmp_path),))
    assert "\n" not in str(error.value)


def test_sizes_that_change_are_named_before_any_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "in", range(6))
    fill(tmp_path / "in", [6], height=24, width=32)
    out = tmp_path / "out"
    arguments = ["build", "video", "--input", str(tmp_path / "in"), "--frames", "3", "--out", str(out)]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "0006.png: is 32 x 24 pixels, but 0000.png is 64 x 48; pictures of a folder must be of one size"
    )
    assert not out.exists()


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    (tmp_path / "0001.png").write_bytes(b"not a picture")
    (folder,) = find_footage((str(tmp_path),))
    with pytest.raises(ValueError, match=r"0001.png: cannot be opened as a picture"):
        measure(folder)


def test_a_damaged_picture_ends_the_take_and_is_told(tmp_path: Path) -> None:
    fill(tmp_path, range(9))
    data = (tmp_path / "0004.png").read_bytes()
    (tmp_path / "0004.png").write_bytes(data[: len(data) // 2])
    source = whole(tmp_path)
    assert [numbers(clip) for clip in source.clips("train", 9, 0)] == [[0, 1, 2, 3], [5, 6, 7, 8]]
    assert "1 frames are damaged" in str(source.statistics()["damaged_files"])
    (folder,) = find_footage((str(tmp_path),))
    pictures: list[Any] = []
    with pytest.raises(Damaged):
        pictures.extend(decode(folder, (48, 64), "stretch", False, NO_CUTS))
    assert [picture.shot for picture in pictures] == [0] * 4 + [1] * 4


@pytest.mark.parametrize("shape", [(32, 32), (16, 48), (48, 20), (96, 128)])
def test_any_shape_can_be_cut_out(tmp_path: Path, shape: tuple[int, int]) -> None:
    """The largest part of the shape from the middle, by Pillow's own crop and reduction."""
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    image = np.stack(
        [np.broadcast_to(ramp, (48, 64)), np.broadcast_to(ramp[:48, None], (48, 64)), np.zeros((48, 64))], -1
    )
    Image.fromarray(image.astype(np.uint8)).save(tmp_path / "1.png")
    (folder,) = find_footage((str(tmp_path),))
    (picture,) = decode(folder, shape, "crop", False, NO_CUTS)
    height, width = shape
    scale = max(height / 48, width / 64)
    left, top = (64 - width / scale) / 2, (48 - height / scale) / 2
    box = (left, top, 64 - left, 48 - top)
    expected = Image.open(tmp_path / "1.png").resize((width, height), Image.Resampling.BILINEAR, box)
    assert picture.image.shape == (height, width, 3)
    assert np.abs(picture.image.astype(int) - np.asarray(expected)).mean() < 3


def test_grey_and_transparent_pictures_are_pictures(tmp_path: Path) -> None:
    Image.new("L", (16, 16), 77).save(tmp_path / "0.png")
    Image.new("RGBA", (16, 16), (10, 20, 30, 255)).save(tmp_path / "1.png")
    Image.new("P", (16, 16), 0).save(tmp_path / "2.png")
    folder = PictureFolder(str(tmp_path), "a", ("0.png", "1.png", "2.png"), (0, 1, 2))
    images = [picture.image[8, 8].tolist() for picture in decode(folder, (16, 16), "crop", False, NO_CUTS)]
    assert images == [[77] * 3, [10, 20, 30], [0] * 3]


def test_a_set_is_built_of_folders(tmp_path: Path) -> None:
    for name in "abc":
        fill(tmp_path / "in" / name, range(10))
    options = [
        "--size",
        "16",
        "--frames",
        "5",
        "--stride",
        "1",
        "--cut",
        "2",
        "--fps",
        "10",
        "--val-share",
        "0.4",
    ]
    options += ["--test-share", "0"]
    assert (
        main(["build", "video", "--input", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *options])
        == 0
    )
    manifest = read_manifest(str(tmp_path / "out"))
    assert manifest.shape == (5, 16, 16, 3)
    assert {split: manifest.samples(split) for split in manifest.splits} == {"train": 12, "val": 6}
    assert manifest.statistics["files"] == 3


def test_pictures_too_far_apart_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "in", [2**n for n in range(12)])
    arguments = ["build", "video", "--input", str(tmp_path / "in"), "--frames", "4", "--val-share", "0"]
    assert main([*arguments, "--test-share", "0", "--cut", "2", "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "gave no clips; train: takes of fewer than 4 frames were left out: " in line
    assert line.endswith("; val: val_share is 0; test: test_share is 0")


def test_one_picture_is_a_video_too_short_for_clips(tmp_path: Path) -> None:
    fill(tmp_path, [5])
    (folder,) = picture_folders(str(tmp_path), ["0005.png"])
    assert folder.joined == (False,)
    with pytest.raises(ValueError, match="no input is that long"):
        next(VideoFiles((str(tmp_path),)).clips("train", 1, 0))


@pytest.mark.service
def test_pictures_on_a_store(tmp_path: Path, s3: object) -> None:
    from data_shards.storage.place import open_store

    fill(tmp_path / "a", range(4))
    url = s3.bucket()  # type: ignore[attr-defined]
    for file in sorted((tmp_path / "a").iterdir()):
        open_store(url).put(f"in/a/{file.name}", file)
    source = VideoFiles(input=(f"{url}/in",), size=32, frames=4, fit="stretch", val_share=0.0, test_share=0.0)
    (clip,) = source.clips("train", 9, 0)
    assert numbers(clip) == [0, 1, 2, 3]
    assert clip.facts["file"] == "a"
