"""CamVid's layout: which frames a clip has, what is labelled, void, sizes, mistakes named; the real subset if there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_shards.clip import Clip
from data_shards.loader import DataConfig, scan
from data_shards.manifest import read_manifest
from data_shards.sources.camvid import CLASSES, CamVid
from data_shards.writer import build

WIDTH, HEIGHT = 48, 32


def write_camvid(folder: Path, split: str, names: list[str]) -> None:
    """Pictures of noise with random labels 0 to 11, and their list, with absolute paths as the original has."""
    rng = np.random.default_rng([*split.encode()])
    for name in names:
        picture = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        labels = rng.integers(0, 12, (HEIGHT, WIDTH)).astype(np.uint8)
        for kind, array in ((split, picture), (f"{split}annot", labels)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / f"{name}.png")
    lines = [f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n" for name in names]
    (folder / f"{split}.txt").write_text("".join(lines))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two takes to train on, one of them also in test; no list for val."""
    write_camvid(tmp_path, "train", ["A_0060", "A_0030", "A_0090", "B_000"])
    write_camvid(tmp_path, "test", ["A_0120"])
    return tmp_path


def source(archive: Path, **parameters: Any) -> CamVid:
    return CamVid(str(archive), **({"width": WIDTH, "height": HEIGHT, "frames": 3} | parameters))


def frames_in(clip: Clip) -> Any:
    return clip.facts["frames"]


def frames_of(made: CamVid, split: str = "train") -> dict[str, list[int]]:
    return {clip.key: frames_in(clip) for clip in made.clips(split, 100, 0)}


def test_a_clip_ends_with_its_labelled_frame_and_stays_in_its_take_and_list(archive: Path) -> None:
    assert frames_of(source(archive)) == {
        "A_0060": [30, 30, 60],
        "A_0030": [30, 30, 30],
        "A_0090": [30, 60, 90],
        "B_000": [0, 0, 0],
    }
    assert frames_of(source(archive), "test") == {"A_0120": [120, 120, 120]}
    assert frames_of(source(archive), "val") == {}
    assert frames_of(source(archive, frames=1))["A_0090"] == [90]
    for clip in source(archive).clips("train", 9, 0):  # also where a labelled frame is repeated
        assert (clip.labels[:-1] == 255).all()
        assert (clip.labels[-1] < 11).any()


def test_frames_and_labels_are_those_of_the_files(archive: Path) -> None:
    clip = {clip.key: clip for clip in source(archive).clips("train", 9, 0)}["A_0090"]
    for place, name in enumerate(("A_0030", "A_0060", "A_0090")):
        np.testing.assert_array_equal(clip.frames[place], pixels(archive / "train" / f"{name}.png"))
    assert (clip.labels[:2] == 255).all()
    true = pixels(archive / "trainannot" / "A_0090.png")
    np.testing.assert_array_equal(clip.labels[2], np.where(true == 11, 255, true))
    assert (true == 11).any()


def test_all_known_labels_can_be_had(archive: Path) -> None:
    clip = {clip.key: clip for clip in source(archive, all_labels=True).clips("train", 9, 0)}["A_0060"]
    for place, name in enumerate(("A_0030", "A_0030", "A_0060")):
        true = pixels(archive / "trainannot" / f"{name}.png")
        np.testing.assert_array_equal(clip.labels[place], np.where(true == 11, 255, true))


def test_frames_between_labelled_ones_come_from_the_video(archive: Path, tmp_path: Path) -> None:
    video = tmp_path / "video"
    video.mkdir()
    for number in (*range(40, 60, 2), 86, 88):
        Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(video / f"A_{number:04d}.png")
    made = source(archive, frames_from=str(video), spacing=2, frames=4)
    assert frames_of(made) == {
        "A_0060": [54, 56, 58, 60],
        "A_0030": [30, 30, 30, 30],
        "A_0090": [86, 86, 88, 90],
        "B_000": [0, 0, 0, 0],
    }
    clip = next(iter(made.clips("train", 9, 0)))
    assert clip.frames[:3, 0, 0, 0].tolist() == [54, 56, 58]
    np.testing.assert_array_equal(clip.frames[3], pixels(archive / "train" / "A_0060.png"))
    (video / "other").mkdir()
    with pytest.raises(
        ValueError, match=r"none of its 0 files is named like a labelled frame, such as A_000000.png"
    ):
        frames_of(source(archive, frames_from=str(video / "other")))


def test_a_step_that_is_not_the_takes_is_not_bridged(tmp_path: Path) -> None:
    """Two stretches of one take, frames 2 apart, and a single one far behind."""
    write_camvid(tmp_path, "val", [f"A_{number:04d}" for number in (2, 4, 6, 50, 52, 54, 56, 90)])
    assert [clip.facts["frames"] for clip in source(tmp_path).clips("val", 9, 0)] == [
        [2, 2, 2],
        [2, 2, 4],
        [2, 4, 6],
        [50, 50, 50],
        [50, 50, 52],
        [50, 52, 54],
        [52, 54, 56],
        [90, 90, 90],
    ]


def test_pictures_are_averaged_and_labels_never_mixed(archive: Path) -> None:
    clip = next(iter(source(archive, width=24, height=16, frames=1).clips("train", 9, 0)))
    expected = pixels(archive / "train" / "A_0060.png").reshape(16, 2, 24, 2, 3).mean((1, 3))
    assert np.abs(clip.frames[0] - expected).max() <= 1
    assert set(np.unique(clip.labels)) <= {*range(11), 255}


def test_the_full_lists_have_367_101_and_233_frames(tmp_path: Path) -> None:
    """Lists as long as the real ones; pictures are read only where a clip is asked for."""
    for split, count in {"train": 367, "val": 101, "test": 233}.items():
        lines = [
            f"/SegNet/CamVid/{split}/{split}_{i * 30:06d}.png /SegNet/CamVid/{split}annot/{split}_{i * 30:06d}.png\n"
            for i in range(count)
        ]
        (tmp_path / f"{split}.txt").write_text("".join(lines))
    made = source(tmp_path)
    assert [len(made._listed[split]) for split in ("train", "val", "test")] == [367, 101, 233]


def test_fewer_clips_are_drawn_from_the_whole_list(archive: Path) -> None:
    drawn = {tuple(clip.key for clip in source(archive).clips("train", 2, seed)) for seed in range(20)}
    assert len(drawn) > 3
    assert all(len(keys) == 2 for keys in drawn)


def test_a_set_keeps_labels_names_and_the_pixels_of_each_class(archive: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    build("camvid", source(archive), url, {"train": 9, "val": 9, "test": 9}, seed=0)
    manifest = read_manifest(url)
    assert manifest.statistics["classes"] == list(CLASSES)
    names = ("A_0060", "A_0030", "A_0090", "B_000")
    values = np.stack([pixels(archive / "trainannot" / f"{name}.png") for name in names])
    assert manifest.statistics["class_pixels"] == np.bincount(values.ravel(), minlength=12)[:11].tolist()
    assert list(manifest.splits) == ["train", "test"]
    (batch,) = scan(DataConfig(url), "train", 4)
    made = {clip.key: clip for clip in source(archive).clips("train", 9, 0)}
    for key, labels in zip(batch.keys, batch.labels, strict=True):
        np.testing.assert_array_equal(labels, made[key].labels)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: [(f / n).unlink() for n in ("train.txt", "test.txt")],
            "has none of train.txt, val.txt, test.txt",
        ),
        (lambda f: (f / "train" / "B_000.png").unlink(), r"train/B_000.png: is in a list, but not there"),
        (
            lambda f: (f / "trainannot" / "B_000.png").unlink(),
            r"trainannot/B_000.png: is in a list, but not there",
        ),
        (
            lambda f: (f / "train" / "B_000.png").write_bytes(b"no"),
            r"B_000.png: cannot be opened as a picture",
        ),
        (
            lambda f: Image.new("L", (WIDTH, 8)).save(f / "trainannot" / "B_000.png"),
            r"trainannot/B_000.png: labels and picture are of different sizes, 48x8 and 48x32",
        ),
        (
            lambda f: Image.new("L", (WIDTH, HEIGHT), 12).save(f / "trainannot" / "B_000.png"),
            r"trainannot/B_000.png: has labels up to 12, must be 0 to 11",
        ),
        (
            lambda f: Image.new("RGB", (WIDTH, HEIGHT)).save(f / "trainannot" / "B_000.png"),
            r"trainannot/B_000.png: has mode RGB, labels must be one byte a pixel",
        ),
        (
            lambda f: (f / "train.txt").write_text("one.png\n"),
            r"train.txt, line 1: 'one.png' must name a picture",
        ),
        (
            lambda f: (f / "train.txt").write_text("a/b.png c/b.png"),
            r"train.txt, line 1: a/b.png must have the frame's",
        ),
    ],
)
def test_mistakes_are_named(archive: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(archive)
    with pytest.raises(ValueError, match=message):
        frames_of(source(archive))


@pytest.mark.parametrize("field", ["spacing", "width", "height", "frames"])
def test_parameters_have_ranges(archive: Path, field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} 0 must be at least"):
        source(archive, **{field: 0})


def test_the_real_subset(real_data: Path) -> None:
    folder = real_data / "camvid_subset" / "CamVid"
    if not folder.is_dir():
        pytest.skip(f"no CamVid at {folder}")
    made = CamVid(str(folder), width=48, height=36, frames=2)
    train, test = (list(made.clips(split, 1000, 0)) for split in ("train", "test"))
    assert (len(train), len(test)) == (20, 10)
    for clip in train + test:
        first, last = frames_in(clip)
        assert last - first in (0, 30)
        assert (clip.labels[0] == 255).all()
        assert (clip.labels[1] < 11).mean() > 0.7
    # Road is most of the lower half, sky lies above it.
    for clip in train:
        rows = [np.nonzero(clip.labels[1] == k)[0].mean() for k in (0, 3) if (clip.labels[1] == k).any()]
        assert rows == sorted(rows)


def test_all_that_is_not_there_is_told_at_once(archive: Path) -> None:
    (archive / "train" / "A_0030.png").unlink()
    (archive / "trainannot" / "B_000.png").unlink()
    (archive / "trainannot" / "B_000.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match="2 inputs cannot be used") as error:
        next(source(archive).clips("train", 9, 0))
    assert all(
        f"{name}: is in a list, but not there" in str(error.value) for name in ("A_0030.png", "B_000.png")
    )
    assert len(list(source(archive).clips("test", 9, 0))) == 1


def test_a_link_to_nothing_among_the_frames_is_no_short_take(archive: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(84, 90):
        Image.new("RGB", (WIDTH, HEIGHT)).save(frames / f"A_{number:04d}.png")
    made = source(archive, frames_from=str(frames))
    assert frames_of(made)["A_0090"] == [88, 89, 90]
    (frames / "A_0088.png").unlink()
    (frames / "A_0088.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match=r"A_0088\.png: is a link whose target is not there"):
        frames_of(source(archive, frames_from=str(frames)))
