"""Moving multi-MNIST: its motion against a loop over numbers, its truth against its frames, its statistics."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_shards.check import check
from data_shards.clip import Clip
from data_shards.loader import DataConfig, scan
from data_shards.sources.multi_mnist import MultiMnist, apart, ink, step
from data_shards.sources.splits import SPLITS
from data_shards.writer import build
from tests.data_shards.test_idx import idx


@cache
def sample(source: MultiMnist, count: int, split: str = "train") -> list[Clip]:
    return list(source.clips(split, count, 3))


def reference(p: float, v: float, a: float, high: float = 50.0) -> tuple[float, float, float]:
    """The released generator's step along one axis, number by number, without its noise."""
    p, v = p + v, v + a
    if p < 0:
        p, v, a = -p, -v, -a
    elif p > high:
        p, v, a = 2 * high - p, -v, -a
    return min(max(p, 0), high), min(max(v, -10), 10), min(max(a, -3), 3)


def test_a_step_is_the_released_generators() -> None:
    rng = np.random.default_rng(0)
    state: Any = tuple(rng.uniform(low, high, (300, 2)) for low, high in ((0, 50), (-10, 10), (-3, 3)))
    expected = [[tuple(float(x[i, k]) for x in state) for k in range(2)] for i in range(300)]
    for _ in range(30):
        state = step(rng, state, (np.full((300, 2), 50.0), 10.0, 3.0), 0.0)
        expected = [[reference(*axis) for axis in both] for both in expected]
    np.testing.assert_allclose(np.stack(state, -1), expected, atol=1e-9)
    assert (state[0] > 40).any()


def test_statistics_of_the_motion() -> None:
    """Measured on 20,000 sequences of the released generator (displacements and speeds, pixels a frame), to 2 %."""
    rng = np.random.default_rng(1)
    start = rng.integers(0, 33, (40_000, 2)).astype(float)
    corners = np.rint(MultiMnist()._trajectory(rng, start, np.full((40_000, 2), 18.0)))[:10]
    way = np.linalg.norm(np.diff(corners, axis=0), axis=-1)
    assert way.mean() == pytest.approx(9.3, rel=0.02)
    assert np.median(way) == pytest.approx(10.1, rel=0.02)
    assert way[0].mean() == pytest.approx(7.4, rel=0.02)
    assert way[-1].mean() == pytest.approx(11.0, rel=0.02)
    np.testing.assert_array_equal(corners[0], start)
    assert (corners.min(), corners.max()) == (0, 50)


@pytest.mark.slow
def test_statistics_of_mnist(real_data: Path) -> None:
    """Counts, sizes of digits, what is seen of them, and the log-likelihood of a black frame at sigma 0.3."""
    source = MultiMnist(digits=str(real_data / "mnist"))
    assert source.statistics() == {"digits": {"train": 55_000, "val": 5000, "test": 10_000}}
    clips = list(source.clips("test", 1500, 0))
    counts = np.array([len(clip.categories) for clip in clips])
    assert np.bincount(counts) / 1500 == pytest.approx([1 / 3] * 3, abs=0.04)
    height, width = np.mean([ink(digit).shape for digit in source._digits["test"][1]], axis=0)
    assert (width, height) == (pytest.approx(15.6, rel=0.02), pytest.approx(19.8, rel=0.02))
    visible = np.concatenate([clip.visibility.ravel() for clip in clips])
    assert (visible < 0.5).mean() == pytest.approx(0.249, abs=0.02)
    assert (visible < 0.1).mean() == pytest.approx(0.085, abs=0.01)
    assert (visible == 0).mean() == pytest.approx(0.023, abs=0.005)
    energy = np.array([(np.square(clip.frames / 255)).sum() for clip in clips])
    ceiling = -25_000 * np.log(0.3 * np.sqrt(2 * np.pi))
    assert ceiling == pytest.approx(7125.86, abs=0.01)
    black = [(ceiling - energy[counts == n] / 0.18).mean() for n in range(3)]
    assert black == pytest.approx([7125.86, 3379, -135], abs=150)  # standard errors are 40 and 60


@pytest.mark.parametrize(
    "source",
    [MultiMnist(), MultiMnist(come_and_go=True, fewest=2), MultiMnist(size=32, leave=False, acceleration=0)],
)
def test_truth_is_of_what_is_drawn(source: MultiMnist) -> None:
    """A digit that is once seen whole is that picture, shifted and cut, in every frame in which it is there."""
    for clip in sample(source, 12):
        frames, size = clip.frames[..., 0], source.size
        for i in range(len(clip.categories)):
            whole = [t for t in range(source.frames) if clip.visibility[t, i] == 1]
            if not whole:
                continue
            left, top, right, bottom = clip.boxes[whole[0], i].astype(int)
            strokes = clip.amodal_masks[whole[0], i, top:bottom, left:right]
            assert all(edge.any() for edge in (strokes[0], strokes[-1], strokes[:, 0], strokes[:, -1]))
            assert strokes.max() == 255
            for t in range(source.frames):
                alone = np.zeros((3 * size, 3 * size), np.uint8)
                if clip.exists[t, i]:
                    x, y = clip.boxes[t, i, :2].astype(int)
                    alone[y : y + bottom - top, x : x + right - left] = strokes
                    np.testing.assert_allclose(clip.centres[t, i], clip.boxes[t, i].reshape(2, 2).mean(0))
                np.testing.assert_array_equal(clip.amodal_masks[t, i], alone[:size, :size])
                share = alone[:size, :size].sum() / strokes.sum()
                assert clip.visibility[t, i] == pytest.approx(share, abs=1e-6)
        np.testing.assert_array_equal(clip.amodal_masks.max(1, initial=0), frames)
        assert ((clip.visible_ids > 0) == (frames >= 128)).all()
        if not source.come_and_go:
            np.testing.assert_array_equal(np.diff(clip.boxes[..., :2], axis=0), clip.velocities[:-1])
            assert clip.exists.all()
        if not source.leave:
            assert (clip.visibility == 1).all()


def test_digits_come_and_go_once() -> None:
    clips = sample(MultiMnist(come_and_go=True), 200)
    exists = np.concatenate([clip.exists.T for clip in clips])
    turns = np.abs(np.diff(np.pad(exists, ((0, 0), (1, 1))), axis=1)).sum(1)
    assert (turns == 2).all()
    assert 0.2 < exists.mean() < 0.5
    assert len({tuple(row) for row in exists}) > 30


def test_boxes_do_not_overlap_at_first() -> None:
    rng = np.random.default_rng(0)
    strokes = [np.full((20, 16), 255, np.uint8), np.full((18, 12), 255, np.uint8)]
    found = [corners for _ in range(300) if (corners := apart(rng, strokes, 50)) is not None]
    assert len(found) > 250
    for (x0, y0), (x1, y1) in found:
        assert x0 + 16 <= x1 or x1 + 12 <= x0 or y0 + 20 <= y1 or y1 + 18 <= y0
    assert apart(rng, strokes, 16) is None
    assert apart(rng, [], 16).shape == (0, 2)


def test_ink_is_cut_and_at_full_range() -> None:
    image = np.zeros((8, 8), np.uint8)
    image[2:5, 3:7] = 51
    np.testing.assert_array_equal(ink(image), np.full((3, 4), 255))
    assert ink(np.zeros((8, 8), np.uint8)).shape == (8, 8)


def test_splits_have_digits_of_their_own_and_say_which(tmp_path: Path) -> None:
    """The first sixth of a small file is val's; a label is its image's place."""
    for name, start, count in (("train", 0, 60), ("t10k", 100, 20)):
        images = np.full((count, 28, 28), 200, np.uint8)
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        labels = np.arange(start, start + count, dtype=np.uint8)
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
    source = MultiMnist(digits=str(tmp_path), frames=2, digit=8.0, fewest=2)
    drawn = {split: {int(x) for c in sample(source, 200, split) for x in c.categories} for split in SPLITS}
    assert drawn == {"train": set(range(10, 60)), "val": set(range(10)), "test": set(range(100, 120))}
    for clip in sample(source, 20):
        assert clip.facts["digits"] == clip.categories.tolist()
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(ValueError, match="20 images and 3 labels for test"):
        next(MultiMnist(digits=str(tmp_path)).clips("test", 1, 0))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros((3, 2), np.uint8)))
    with pytest.raises(ValueError, match="labels have 1 axis"):
        next(MultiMnist(digits=str(tmp_path)).clips("test", 1, 0))


def test_clips_without_digits_are_stored_and_padded(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    manifest = build("multi-mnist", MultiMnist(frames=3), url, {"train": 12, "val": 2}, 0)
    assert (manifest.shape, manifest.objects) == ((3, 50, 50, 1), 2)
    (batch,) = scan(DataConfig(url), "train", 12, fields=None)
    assert sorted(set(batch.present.sum(1).tolist())) == [0, 1, 2]
    np.testing.assert_array_equal(batch.exists, batch.present[:, None].repeat(3, 1))
    assert not batch.frames[batch.present.sum(1) == 0].any()


def test_clips_without_digits_are_no_leakage(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    build("multi-mnist", MultiMnist(frames=2), url, {"train": 12, "val": 12, "test": 12}, 0)
    assert check(url).problems == []


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"size": 8}, "size 8"),
        ({"frames": 0}, "frames 0"),
        ({"objects": 0}, "objects 0"),
        ({"fewest": 3}, "fewest 3"),
        ({"digit": 60.0}, "digit 60.0"),
        ({"speed": -1.0}, "speed -1.0"),
    ],
)
def test_bad_parameters_are_named(bad: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        MultiMnist(**bad)


def test_digits_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"do not fit side by side"):
        next(MultiMnist(size=16, objects=2, fewest=2, digit=50.0).clips("train", 1, 0))
