"""Real video: small films in which each frame carries its number, and the files people have."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_shards.clip import Clip
from data_shards.sources.decoding import Damaged
from data_shards.sources.footage import Footage, find_footage
from data_shards.sources.shots import decode, difference, moving_share
from data_shards.sources.splits import split_items, split_times
from data_shards.sources.video import VideoFiles
from tests.films import CODECS, NO_CUTS, noise, numbered, numbers, whole, write


@pytest.mark.parametrize("extension", CODECS)
def test_clips_hold_the_frames_that_their_facts_say(tmp_path: Path, extension: str) -> None:
    file = write(tmp_path / f"a.{extension}", numbered(30))
    clips = list(whole(file).clips("train", 100, 0))
    assert [numbers(clip) for clip in clips] == [list(range(i, i + 4)) for i in range(0, 28, 4)]
    for clip in clips:
        assert clip.facts["file"] == f"a.{extension}"
        assert clip.facts["first_frame"] == numbers(clip)[0]
        assert clip.facts["last_frame"] == numbers(clip)[-1]
        assert clip.facts["time"] == pytest.approx(numbers(clip)[0] / 20, abs=0.003)
        assert clip.facts["fps"] == 20


@pytest.mark.parametrize(("stride", "starts"), [(1, range(0, 9)), (3, range(0, 9, 3)), (7, range(0, 9, 7))])
def test_stride_is_the_distance_of_starts(tmp_path: Path, stride: int, starts: range) -> None:
    source = whole(write(tmp_path / "a.mkv", numbered(12)), stride=stride)
    assert [numbers(clip)[0] for clip in source.clips("train", 100, 0)] == list(starts)


@pytest.mark.parametrize(
    ("fps", "expected"), [(5.0, [0, 4, 8, 12]), (20.0, [0, 1, 2, 3]), (8.0, [0, 2, 5, 7])]
)
def test_fps_takes_the_nearest_frames(tmp_path: Path, fps: float, expected: list[int]) -> None:
    clip = next(whole(write(tmp_path / "a.avi", numbered(40)), fps=fps).clips("train", 99, 0))
    assert all(abs(a - b) <= (fps == 8.0) for a, b in zip(numbers(clip), expected, strict=True))
    assert clip.facts["fps"] == fps


def test_clips_do_not_cross_cuts(tmp_path: Path) -> None:
    takes = [noise(10, 1, 60), noise(7, 2, 190), noise(3, 3, 60), noise(9, 4, 200)]
    file = write(tmp_path / "a.mp4", [image for take in takes for image in take])
    source = whole(file, cut=VideoFiles.cut)
    starts = [clip.facts["first_frame"] for clip in source.clips("train", 100, 0)]
    assert starts == [0, 4, 10, 20, 24]
    assert source.statistics()["cuts"] == 3
    for clip in whole(file, cut=VideoFiles.cut, stride=1).clips("train", 100, 0):
        assert np.ptp(clip.frames.astype(int).mean((1, 2, 3))) < 10


def test_motion_and_light_are_no_cuts() -> None:
    """A bright square a third of the picture large that jumps across it, and a lamp that is dimmed by a fifth."""
    back = np.random.default_rng(0).integers(60, 120, (64, 64, 3)).astype(np.uint8)
    left, right = back.copy(), back.copy()
    left[10:30, 5:25], right[10:30, 30:50] = 220, 220
    assert difference(left, right) < VideoFiles.cut
    assert difference(back, (back * 0.8).astype(np.uint8)) < 2 * VideoFiles.cut
    assert difference(back, back) == 0
    assert difference(np.zeros_like(back), np.full_like(back, 255)) == pytest.approx(2)


def frames_used(clips: Iterable[Clip]) -> set[tuple[object, int]]:
    return {
        (clip.facts["file"], number)
        for clip in clips
        for number in range(int(str(clip.facts["first_frame"])), int(str(clip.facts["last_frame"])) + 1)
    }


def test_a_few_files_are_split_by_time_with_a_gap(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.mkv", numbered(200), codec=("ffv1", "yuv444p"))
    source = whole(tmp_path, stride=1, val_share=0.1, test_share=0.2, gap=0.5)
    used = {split: frames_used(source.clips(split, 10**6, 0)) for split in ("train", "val", "test")}
    for name in ("a.mkv", "b.mkv"):
        train, val, test = (
            [n for file, n in sorted(used[s]) if file == name] for s in ("train", "val", "test")
        )
        assert (train[0], train[-1]) == (0, 119)
        assert (val[0], val[-1]) == (130, 149)
        assert (test[0], test[-1]) == (160, 199)


def test_many_files_are_split_by_file(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path / f"{number}.avi", numbered(9, base=number), codec=("rawvideo", "yuv420p"))
    files = {
        seed: {
            split: {
                clip.facts["file"]
                for clip in whole(tmp_path, val_share=0.1, test_share=0.2).clips(split, 99, seed)
            }
            for split in ("train", "val", "test")
        }
        for seed in (0, 0, 1)
    }
    assert {split: len(names) for split, names in files[0].items()} == {"train": 14, "val": 2, "test": 4}
    assert len(set.union(*files[0].values())) == 20
    assert files[0] != files[1]


def test_fewer_clips_than_there_are_come_from_everywhere(tmp_path: Path) -> None:
    for name, length in {"a": 40, "b": 120}.items():
        write(tmp_path / f"{name}.mkv", numbered(length))
    chosen = [sorted(frames_used(whole(tmp_path).clips("train", 8, seed))) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert [len([1 for file, _ in chosen[0] if file == name]) for name in ("a.mkv", "b.mkv")] == [8, 24]
    assert max(number for _, number in chosen[0]) > 60


def test_still_clips_can_be_left_out(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mkv", noise(8, 0) + numbered(8) + noise(8, 0))
    source = whole(file, min_motion=0.02)
    assert [clip.facts["first_frame"] for clip in source.clips("train", 9, 0)] == [8, 12]
    assert source.statistics()["still_clips_left_out"] == 4
    half = np.zeros((3, 4, 4, 1), np.uint8)
    half[1, :2] = 24
    assert moving_share(half) == 0.5


def test_crop_takes_the_centre_and_stretch_everything(tmp_path: Path) -> None:
    image = np.full((48, 96, 3), 30, np.uint8)
    image[:, 24:72] = (60, 200, 60)
    file = write(tmp_path / "a.mkv", [image] * 4)
    cropped = next(whole(file, fit="crop").clips("train", 1, 0)).frames
    np.testing.assert_allclose(cropped, np.broadcast_to((60, 200, 60), cropped.shape), atol=6)
    stretched = next(whole(file).clips("train", 1, 0)).frames
    green = stretched[0, :, :, 1] > 115
    assert green[:, 9:23].all()
    assert not green[:, :7].any()
    grey = next(whole(file, fit="crop", grey=True).clips("train", 1, 0)).frames
    assert grey.shape == (4, 32, 32, 1)
    assert abs(grey.astype(int) - round(0.299 * 60 + 0.587 * 200 + 0.114 * 60)).max() < 8


def test_reduction_averages_and_enlarging_works(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    frames = next(whole(write(tmp_path / "a.mkv", [stripes] * 4), size=16).clips("train", 1, 0)).frames
    assert abs(frames.astype(int) - 100).max() < 6
    larger = next(whole(write(tmp_path / "b.mkv", numbered(4, 16, 16)), size=64).clips("train", 1, 0))
    assert numbers(larger) == [0, 1, 2, 3]


@pytest.mark.parametrize("codec", [("mjpeg", "yuvj420p"), ("png", "rgb24"), ("mpeg4", "yuv420p")])
@pytest.mark.parametrize("damage", ["zeros", "cut short"])
def test_what_was_decoded_before_damage_counts(tmp_path: Path, codec: tuple[str, str], damage: str) -> None:
    images = list(np.random.default_rng(0).integers(0, 255, (40, 32, 32, 3)).astype(np.uint8))
    file = write(tmp_path / "a.avi", images, codec=codec)
    sound = write(tmp_path / "b.avi", numbered(20))
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    if damage == "zeros":
        data[middle : middle + len(data) // 8] = bytes(len(data) // 8)
    else:
        del data[middle:]
    file.write_bytes(data)
    good: list[Any] = []
    with pytest.raises(Damaged, match=r"a\.avi"):
        good.extend(decode(Footage(str(tmp_path), "a.avi"), (32, 32), "stretch", False, NO_CUTS))
    assert 4 <= len(good) < 40
    source = whole(file, sound)
    made = [clip.facts["file"] for clip in source.clips("train", 99, 0)]
    takes = Counter(frame.shot for frame in good)
    assert made.count("a.avi") == sum(length // 4 for length in takes.values())
    assert made.count("b.avi") == 5
    damaged = source.statistics()["damaged_files"]
    assert isinstance(damaged, dict)
    assert list(damaged) == ["a.avi"]


def test_too_short_and_too_slow_files_are_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.avi", numbered(12))
    with pytest.raises(
        ValueError, match=r"frames 13: no input is that long; the longest, .*a\.avi, has 12 frames"
    ):
        next(whole(file, frames=13).clips("train", 1, 0))
    with pytest.raises(ValueError, match=r"fps 25: .*a\.avi has only 20"):
        next(whole(file, fps=25.0).clips("train", 1, 0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 4),
        ("frames", 1),
        ("stride", 0),
        ("stride", 10**30),
        ("fps", 0.0),
        ("fps", 5e-324),
        ("cut", 3.0),
        ("min_motion", 1.5),
        ("val_share", -0.1),
        ("test_share", 0.6),
        ("gap", -1.0),
        ("gap", float("inf")),
    ],
)
def test_bad_parameters_are_named(name: str, value: float) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name} {value}"):
        VideoFiles(input=("x",), **given)


def test_split_ranges_fit_clips_or_give_all_to_training() -> None:
    for length in range(1, 300):
        parts = split_times(length, (0.1, 0.1), 12, 15)
        train, val, test = parts["train"], parts["val"], parts["test"]
        if not val:
            assert train == range(length)
            assert length < 3 * 12 + 2 * 15
            continue
        assert min(len(train), len(val), len(test)) >= 12
        assert val.start - train.stop == test.start - val.stop == 15
        assert test.stop == length
    assert split_times(100, (0.0, 0.2), 10, 5) == {
        "train": range(75),
        "val": range(80, 80),
        "test": range(80, 100),
    }
    assert split_items(9, (0.1, 0.1), 0) is None
    dealt = split_items(10, (0.1, 0.1), 0)
    assert dealt is not None
    assert sorted([*dealt["train"], *dealt["val"], *dealt["test"]]) == list(range(10))


@pytest.mark.service
def test_files_on_a_store(tmp_path: Path, s3: object) -> None:
    from data_shards.storage.place import open_store

    url = f"{s3.bucket()}/videos"  # type: ignore[attr-defined]
    for name in ("a.mp4", "b.avi"):
        open_store(url).put(f"in/{name}", write(tmp_path / name, numbered(20)))
    here, there = whole(tmp_path), whole(Path(url))
    there = VideoFiles(**(vars(here) | {"input": (url,)}))
    for clip, other in zip(here.clips("train", 99, 0), there.clips("train", 99, 0), strict=True):
        np.testing.assert_array_equal(clip.frames, other.frames)
    assert [file.name for file in find_footage((f"{url}/in/*.avi", f"{url}/in/a.mp4"))] == ["b.avi", "a.mp4"]


def test_real_files(real_data: Path) -> None:
    """Packed bitstreams, wrong counts, times that run backwards, a hard cut: see what each file is known to have."""
    folder = real_data / "videos"
    decoded = {}
    for file in find_footage((f"{folder}/*wave*", f"{folder}/*demo_48x48.avi")):
        pictures = list(decode(file, (32, 32), "crop", False, VideoFiles.cut))
        times = [picture.time for picture in pictures]
        assert times == sorted(set(times)), file
        decoded[file.name.partition("_")[0]] = len(pictures), pictures[-1].shot
    assert decoded == {
        "RATRACE": (72, 0),
        "SchoolRules" + "HowTheyHelpUs": (74, 0),
        "TrumanShow": (48, 1),
        "bgslibrary": (51, 0),
    }

    film = str(next(folder.glob("TrumanShow*")))
    source = VideoFiles(input=(film,), size=32, frames=8, stride=1, val_share=0.0, test_share=0.0)
    clips = list(source.clips("train", 99, 0))
    starts = [clip.facts["first_frame"] for clip in clips]
    assert starts == [*range(0, 12), *range(19, 41)]  # the cut is before frame 19
    assert source.statistics()["cuts"] == 1


def test_decoding_says_nothing(tmp_path: Path) -> None:
    """The decoder's own warnings about old files would bury the progress of a build."""
    file = write(tmp_path / "a.avi", numbered(8))
    source = f"SOURCES['video'](input=({str(file)!r},), frames=4)"
    code = f"from data_shards.sources import SOURCES; list({source}.clips('train', 9, 0))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("seed", range(3))
def test_clips_that_were_not_found_in_one_file_come_from_the_others(tmp_path: Path, seed: int) -> None:
    """Half of each file is still: every share falls short, and there are 30 clips for the 24 that are asked for."""
    for name in "abc":
        write(tmp_path / f"{name}.mkv", numbered(40) + noise(40, 0))
    source = whole(tmp_path, min_motion=0.02)
    clips = list(source.clips("train", 24, seed))
    assert [clip.key for clip in clips] == [f"train-{n:06d}" for n in range(24)]
    assert len({(clip.facts["file"], clip.facts["first_frame"]) for clip in clips}) == 24
    assert int(str(source.statistics()["still_clips_left_out"])) <= 30
    assert len(list(source.clips("train", 99, seed))) == 30
    assert source.statistics()["still_clips_left_out"] == 30
