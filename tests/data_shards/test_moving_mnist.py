"""Moving MNIST: its motion against a loop over numbers, its truth against its frames, its statistics, its inputs."""

import gzip
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from data_shards.clip import Clip
from data_shards.loader import DataConfig, scan
from data_shards.manifest import read_manifest
from data_shards.sources.idx import read_images
from data_shards.sources.moving_mnist import MovingMnist, bounce, scikit_learn_digits
from data_shards.storage.store import StorageError
from data_shards.writer import build
from tests.data_shards.test_idx import idx


@cache
def sample(source: MovingMnist, count: int, split: str = "train") -> list[Clip]:
    return list(source.clips(split, count, 3))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder as MNIST's: 60 training and 20 test images, each of a grey level of its own (pixel 1, 1: its place)."""
    for name, start, count in (("train", 0, 60), ("t10k", 100, 20)):
        images = np.full((count, 28, 28), 200, np.uint8)
        images[:, 0, 0] = np.arange(start, start + count)
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
    return tmp_path


def reference(x: float, y: float, vx: float, vy: float, frames: int) -> list[tuple[float, float]]:
    """The reference generator's trajectory of one digit, number by number."""
    places = []
    for _ in range(frames):
        x, y = x + vx, y + vy
        if x <= 0:
            x, vx = 0.0, -vx
        if x >= 1:
            x, vx = 1.0, -vx
        if y <= 0:
            y, vy = 0.0, -vy
        if y >= 1:
            y, vy = 1.0, -vy
        places.append((x, y))
    return places


def digits_of(clip: Clip) -> Any:
    return clip.facts["digits"]


def test_motion_is_the_reference_generators() -> None:
    rng = np.random.default_rng(0)
    start, angle = rng.random((200, 2)), rng.uniform(0, 2 * np.pi, 200)
    velocity = 0.1 * np.stack([np.cos(angle), np.sin(angle)], -1)
    kept = start.copy(), velocity.copy()
    places = bounce(start, velocity, 40)
    for i in range(200):
        (x, y), (vx, vy) = start[i].tolist(), velocity[i].tolist()
        expected = reference(x, y, vx, vy, 40)
        np.testing.assert_allclose(places[:, i], expected, atol=1e-12)
    assert (places == 0).any()
    assert (places == 1).any()
    np.testing.assert_array_equal(start, kept[0])
    np.testing.assert_array_equal(velocity, kept[1])


def test_a_clip_draws_that_motion_at_whole_pixels() -> None:
    """From the first two places, as whole pixels, the speed is 3.6 pixels a frame but for cutting and walls."""
    clips = sample(MovingMnist(), 200)
    way = np.concatenate([np.linalg.norm(clip.velocities, axis=-1).ravel() for clip in clips])
    assert np.median(way) == pytest.approx(3.6, abs=0.15)
    assert way.max() <= 3.6 + math.sqrt(2)
    corners = np.concatenate([clip.centres - 14 for clip in clips])
    np.testing.assert_array_equal(corners, corners.round())
    assert corners.min() == 0
    assert corners.max() in (35, 36)  # 36 only for a digit that stands at the wall
    # Directions: uniform where no wall was met (chi square, 7 degrees of freedom, p = 0.001). Whole pixels favour
    # the axes over 8 frames by too little to show.
    runs = [clip.centres[8] - clip.centres[0] for clip in clips]
    free = [
        run[i]
        for clip, run in zip(clips, runs, strict=True)
        for i in range(2)
        if abs(np.linalg.norm(run[i]) - 28.8) < 1.5
    ]
    assert len(free) > 40
    turns = np.array([math.atan2(y, x) for x, y in free])
    quarters = np.histogram((turns + 2 * np.pi) % (2 * np.pi), 4, (0, 2 * np.pi))[0]
    assert ((quarters - len(free) / 4) ** 2 / (len(free) / 4)).sum() < 16.3  # 3 degrees of freedom, p = 0.001


def test_speed_can_be_drawn() -> None:
    clips = sample(MovingMnist(step_min=0.02, step_max=0.2), 200)
    steps = np.concatenate([clip.facts["steps"] for clip in clips])
    assert (steps.min(), steps.max()) == (pytest.approx(0.02, abs=0.005), pytest.approx(0.2, abs=0.005))
    for clip in clips[:50]:
        assert (np.abs(clip.velocities) <= 36 * np.array(clip.facts["steps"])[:, None] + 1).all()
    still = sample(MovingMnist(step_min=0.0, step_max=0.0), 3)
    assert all((clip.frames == clip.frames[:1]).all() and not clip.velocities.any() for clip in still)


@pytest.mark.parametrize(
    ("direction", "axis", "sign"), [(0.0, 0, 1), (90.0, 1, 1), (180.0, 0, -1), (270.0, 1, -1)]
)
def test_direction_can_be_given(direction: float, axis: int, sign: int) -> None:
    """Along one axis, that way first, the other way after a wall, and never across; all else is drawn as without."""
    anyway = sample(MovingMnist(frames=8), 20)
    for clip, other in zip(sample(MovingMnist(frames=8, direction=direction), 20), anyway, strict=True):
        assert not clip.velocities[..., 1 - axis].any()
        # A step of 3.6 pixels, of which a wall may leave less before the digit turns.
        first = [track[track != 0][0] for track in clip.velocities[..., axis].T]
        walls = [min(c - 14, 50 - c) < 4 for c in clip.centres[0, :, axis]]
        assert all(np.sign(v) == sign or near for v, near in zip(first, walls, strict=True))
        assert clip.facts == other.facts


@pytest.mark.parametrize(
    "source", [MovingMnist(), MovingMnist(binary=False, objects=3), MovingMnist(size=32)]
)
def test_truth_is_of_what_is_drawn(source: MovingMnist) -> None:
    side = source.size * 28 // 64
    for clip in sample(source, 5):
        frames = clip.frames[..., 0]
        painted = np.zeros_like(frames)
        for i in range(source.objects):
            corner = (clip.centres[0, i] - side / 2).astype(int)
            digit = clip.amodal_masks[0, i, corner[1] :, corner[0] :][:side, :side]
            for t in range(source.frames):
                x, y = (clip.centres[t, i] - side / 2).astype(int)
                painted[t, y : y + side, x : x + side] = np.maximum(
                    painted[t, y : y + side, x : x + side], digit
                )
        np.testing.assert_array_equal(painted, frames)
        np.testing.assert_array_equal(np.diff(clip.centres, axis=0), clip.velocities[:-1])
        assert ((clip.visible_ids > 0) == (frames >= 128)).all()
        own = np.take_along_axis(
            clip.amodal_masks, np.maximum(clip.visible_ids, 1)[:, None].astype(int) - 1, 1
        )
        np.testing.assert_array_equal(own[:, 0][clip.visible_ids > 0], frames[clip.visible_ids > 0])
        assert set(np.unique(frames)) <= {0, 255} or not source.binary


def test_number_of_digits() -> None:
    lit = [np.mean([c.frames.mean() for c in sample(MovingMnist(objects=n), 60)]) / 255 for n in (1, 2, 4)]
    assert lit[1] / lit[0] == pytest.approx(1.93, abs=0.15)
    assert lit[2] / lit[0] == pytest.approx(3.5, abs=0.3)
    assert sample(MovingMnist(objects=4), 1)[0].centres.shape == (20, 4, 2)


def test_embedded_digits_are_laid_out_as_mnists() -> None:
    digits = scikit_learn_digits()
    assert digits.shape == (1797, 28, 28)
    assert not digits[:, :4].any()
    assert not digits[:, :, 24:].any()
    assert digits[:, 4:24, 4:24].max() == 255
    places: dict[str, Any] = {
        split: sample(MovingMnist(), 40, split)[0].facts["digits"] for split in ("train", "val", "test")
    }
    assert max(places["train"]) < 1198 <= min(places["val"])
    assert max(places["val"]) < 1497 <= min(places["test"])


def test_splits_have_digits_of_their_own(files: Path) -> None:
    source = MovingMnist(digits=str(files), binary=False, frames=2)
    drawn: dict[str, set[int]] = {}
    for split in ("train", "val", "test"):
        clips = list(source.clips(split, 400, 0))
        drawn[split] = {i for clip in clips for i in digits_of(clip)}
        offset = 100 if split == "test" else 0
        for clip in clips[:5]:  # the facts say which: the image's first pixel holds its place
            corner = (clip.centres[0] - 14).astype(int)
            held = [clip.amodal_masks[0, i, y, x] for i, (x, y) in enumerate(corner)]
            assert held == [offset + place for place in digits_of(clip)]
    assert drawn == {"train": set(range(50)), "val": set(range(50, 60)), "test": set(range(20))}


def test_packed_files_and_other_file_systems(files: Path) -> None:
    memory = fsspec.filesystem("memory")
    for path in sorted(files.iterdir()):
        memory.pipe(f"/digits/{path.name}.gz", gzip.compress(path.read_bytes()))
    here = read_images(str(files), "t10k-images-idx3-ubyte")
    assert here.shape == (20, 28, 28)
    for folder in (f"file://{files}", "memory://digits", "memory://digits/"):
        np.testing.assert_array_equal(read_images(folder, "t10k-images-idx3-ubyte"), here)
    one = next(MovingMnist(digits="memory://digits").clips("val", 1, 0))
    np.testing.assert_array_equal(one.frames, next(MovingMnist(digits=str(files)).clips("val", 1, 0)).frames)
    with pytest.raises(StorageError, match=r"memory://nowhere/a: no such file, nor one of that name \+ \.gz"):
        read_images("memory://nowhere", "a")
    with pytest.raises(ValueError, match="pipe"):
        read_images("pipe://x", "a")


def test_a_fixed_array_is_the_test_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    still = rng.integers(0, 200, (1, 9, 8, 8), np.uint8).repeat(4, 2).repeat(4, 3)
    array = still + rng.integers(0, 56, (6, 9, 32, 32), np.uint8)
    np.save(tmp_path / "fixed.npy", array)
    source = MovingMnist(sequences=str(tmp_path / "fixed.npy"), size=32, frames=6, binary=False)
    url = str(tmp_path / "set")
    build("moving-mnist", source, url, {"train": 5, "val": 5, "test": 100}, 0)
    manifest = read_manifest(url)
    assert list(manifest.splits) == ["test"]
    assert set(manifest.parameters) == {"sequences", "size", "frames", "binary"}
    (batch,) = scan(DataConfig(url), "test", 9)
    np.testing.assert_array_equal(batch.frames[..., 0], array.swapaxes(0, 1))
    lit = next(replace(source, binary=True, frames=4).clips("test", 1, 0)).frames
    np.testing.assert_array_equal(lit[..., 0], (array[:4, 0] > 127) * 255)
    memory = fsspec.filesystem("memory")
    memory.pipe("/arrays/fixed.npy", (tmp_path / "fixed.npy").read_bytes())
    assert len(list(replace(source, sequences="memory://arrays/fixed.npy").clips("test", 100, 0))) == 9
    for field, value, words in ("frames", 7, "at least 7 frames"), ("size", 64, r"uint8 \(6, 9, 32, 32\)"):
        bad: dict[str, Any] = {field: value}
        with pytest.raises(ValueError, match=words):
            next(replace(source, **bad).clips("test", 1, 0))
    (tmp_path / "no.npy").write_bytes(b"text")
    np.savez(tmp_path / "several.npz", a=array)
    np.save(tmp_path / "objects.npy", np.array([None]))
    memory.pipe("/arrays/several.npz", (tmp_path / "several.npz").read_bytes())
    for name in ("no.npy", "several.npz", "objects.npy"):
        with pytest.raises(ValueError, match=f"{name}: not an npy array"):
            next(replace(source, sequences=str(tmp_path / name)).clips("test", 1, 0))
    with pytest.raises(ValueError, match=r"several\.npz: not an npy array"):
        next(replace(source, sequences="memory://arrays/several.npz").clips("test", 1, 0))
    with pytest.raises(StorageError, match=r"nowhere\.npy"):
        next(replace(source, sequences=str(tmp_path / "nowhere.npy")).clips("test", 1, 0))


def sequences(count: int, **parameters: Any) -> np.ndarray:
    """Clips as the community's test set has them: frames, clips, size, size."""
    made = MovingMnist(**({"frames": 8, "size": 32} | parameters)).clips("test", count, 0)
    return np.stack([clip.frames[..., 0] for clip in made], 1)


@pytest.mark.parametrize("count", [1, 2, 8, 20])
@pytest.mark.parametrize("frames", [4, 8])
def test_clips_may_come_first(tmp_path: Path, count: int, frames: int) -> None:
    """Also where frames is shorter than the clips, and where there are as many clips as frames."""
    array = sequences(count)
    for name, saved in ("time", array), ("clips", array.swapaxes(0, 1)):
        np.save(tmp_path / f"{name}.npy", saved)
        source = MovingMnist(sequences=str(tmp_path / f"{name}.npy"), size=32, frames=frames)
        clips = list(source.clips("test", 100, 0))
        assert len(clips) == count
        np.testing.assert_array_equal(
            np.stack([clip.frames[..., 0] for clip in clips], 1), (array[:frames] >= 128) * np.uint8(255)
        )


def test_what_the_pictures_do_not_tell_frames_does_or_it_is_refused(tmp_path: Path) -> None:
    """Digits that cross the frame in a step or two are as unlike in time as other clips are."""
    array = sequences(12, step_min=0.9, step_max=1.0)
    np.save(tmp_path / "fast.npy", array.swapaxes(0, 1))
    source = MovingMnist(sequences=str(tmp_path / "fast.npy"), size=32, frames=8)
    np.testing.assert_array_equal(next(source.clips("test", 1, 0)).frames[..., 0], array[:, 0])
    with pytest.raises(
        ValueError, match=r"of its shape \(12, 8, 32, 32\), the pictures do not tell which axis is time"
    ):
        next(replace(source, frames=6).clips("test", 1, 0))


def test_a_set_says_where_its_digits_are_from_and_pads_nothing(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    manifest = build("moving-mnist", MovingMnist(frames=3), url, {"train": 6, "val": 2}, 0)
    assert manifest.parameters["digits"] == "scikit-learn"
    assert manifest.statistics["digits"] == {"train": 1198, "val": 299, "test": 300}
    assert (manifest.shape, manifest.objects) == ((3, 64, 64, 1), 2)
    (batch,) = scan(DataConfig(url), "train", 6, fields=None)
    assert batch.present.tolist() == [[1, 1]] * 6
    assert batch.depth_ranks is None


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"size": 8}, "size 8"),
        ({"frames": 1}, "frames 1"),
        ({"objects": 0}, "objects 0"),
        ({"step_min": 0.2}, "step_min 0.2 and step_max 0.1"),
        ({"step_max": 1.5}, "step_max 1.5"),
        ({"direction": 360.0}, "direction 360.0"),
        ({"direction": -1.0}, "direction -1.0"),
    ],
)
def test_bad_parameters_are_named(bad: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        MovingMnist(**bad)


def test_statistics_of_mnist(real_data: Path) -> None:
    """Two binary digits light about 5 % of the frame: the levels that Table 1 of arXiv 1511.06309 is read by."""
    source = MovingMnist(digits=str(real_data / "mnist"))
    assert source.statistics() == {"digits": {"train": 50000, "val": 10000, "test": 10000}}
    short = replace(source, frames=3)
    frames = np.stack([clip.frames for clip in short.clips("train", 400, 0)]) / 255
    lit = float(frames.mean())  # also the L1 and the squared error of a black prediction
    assert lit == pytest.approx(0.05, abs=0.003)
    entropy = -(lit * math.log(lit) + (1 - lit) * math.log(1 - lit))
    constant = np.where(frames > 0, -math.log(lit), -math.log(1 - lit)).mean()
    assert constant == pytest.approx(entropy, abs=1e-9)
    assert constant == pytest.approx(0.1985, abs=0.008)
    grey = np.stack([c.frames for c in replace(short, binary=False).clips("train", 400, 0)]) / 255
    whole = 2 * 784 * 0.1307 / 4096  # without overlaps, at MNIST's mean brightness
    assert whole * 0.92 < grey.mean() < whole
