"""Sprites against brute force, against their own truth, and against the statistics published for the set."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from data_shards.clip import Clip
from data_shards.sources.background import render_background
from data_shards.sources.sprites import COLOURS, SHAPES, Sprites, rasterise

VARIANTS = [
    Sprites(objects=2),
    Sprites(objects=4),
    Sprites(direction="random", objects=6),
    Sprites(background="texture"),
    Sprites(background="colour"),
    Sprites(hard_edges=True),
    Sprites(paint="same"),
    Sprites(paint="texture", background="texture"),
    Sprites(shuffled=True, objects=2),
    Sprites(size=32, frames=7),
    Sprites(size=33, frames=2, objects=1, shapes=("triangle",)),
]


@cache
def sample(source: Sprites, count: int) -> list[Clip]:
    return list(source.clips("train", count, 7))


def decibels(clips: list[Clip], *, copy: bool) -> float:
    """Mean PSNR over clips and times from the second on, of the previous frame or of black."""
    values = []
    for clip in clips:
        frames = clip.frames.astype(np.float32) / 255
        error = ((frames[1:] - frames[:-1] * copy) ** 2).mean((1, 2, 3))
        values.append(-10 * np.log10(np.maximum(error, 1e-10)).mean())
    return float(np.mean(values))


def painted(clip: Clip, i: int) -> np.ndarray:
    """The colour of shape i, or what its texture shows in every frame: interpolated here between neighbouring pairs."""
    if clip.colours is not None:
        return clip.colours[i]
    facts: Any = clip.facts
    grid, radius, size = np.array(facts["textures"][i]) / 255, facts["radii"][i], clip.frames.shape[1]
    pictures = []
    for centre in clip.centres[:, i].astype(np.float64):
        place = ((np.arange(size)[:, None] + 0.5 - centre) / (2 * radius) + 0.5).clip(0, 1) * (len(grid) - 1)
        low = np.minimum(place.astype(int), len(grid) - 2)
        (x, y), (left, top) = (3 * (place - low) ** 2 - 2 * (place - low) ** 3).T, low.T
        rows = [grid[top + d][:, left + e] for d in (0, 1) for e in (0, 1)]
        parts = [v[:, None, None] * u[None, :, None] for v in (1 - y, y) for u in (1 - x, x)]
        pictures.append(sum(row * part for row, part in zip(rows, parts, strict=True)))
    return np.array(pictures)


def inside(shape: str, radius: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points (relative to the centre) are inside a shape: the definition, point by point."""
    if shape == "circle":
        return x**2 + y**2 <= radius**2
    if shape == "square":
        return np.maximum(abs(x), abs(y)) <= radius
    corners = np.array([[0, -radius], [radius, radius], [-radius, radius]])
    sides = np.roll(corners, -1, 0) - corners
    points = np.stack(np.broadcast_arrays(x, y), -1)[..., None, :] - corners
    return np.all(sides[:, 0] * points[..., 1] - sides[:, 1] * points[..., 0] >= 0, -1)


@pytest.mark.parametrize("source", VARIANTS, ids=range(len(VARIANTS)))
def test_masks_equal_point_by_point_sampling(source: Sprites) -> None:
    per_axis = 1 if source.hard_edges else 4
    points = (np.arange(source.size * per_axis) + 0.5) / per_axis
    for clip in sample(source, 3):
        facts: Any = clip.facts
        for i, (shape, radius) in enumerate(zip(facts["shapes"], facts["radii"], strict=True)):
            for t in (0, source.frames - 1):
                cx, cy = clip.centres[t, i].astype(np.float64)
                hits = inside(shape, radius, points[None, :] - cx, points[:, None] - cy)
                share = hits.reshape(source.size, per_axis, source.size, per_axis).mean((1, 3))
                np.testing.assert_array_equal(clip.amodal_masks[t, i], np.rint(share * 255))


@pytest.mark.parametrize("source", VARIANTS, ids=range(len(VARIANTS)))
def test_truth_renders_the_frames(source: Sprites) -> None:
    for clip in sample(source, 3):
        back = render_background(np.array(clip.facts["background"], np.uint8), source.size)
        image = np.broadcast_to(back, clip.frames.shape).copy()
        owner = np.ones(clip.visible_ids.shape)
        shares = {0: owner}
        # Painted from the farthest to the nearest, unlike the generator.
        for i in np.argsort(-clip.depth_ranks):
            coverage = clip.amodal_masks[:, i] / 255
            image = image * (1 - coverage[..., None]) + painted(clip, int(i)) * coverage[..., None]
            shares = {j: share * (1 - coverage) for j, share in shares.items()} | {i + 1: coverage}
        assert abs(image * 255 - clip.frames).max() <= 0.5 + 1e-3
        stacked = np.stack([shares[j] for j in range(source.objects + 1)])
        shown = np.take_along_axis(stacked, clip.visible_ids[None].astype(np.int64), 0)[0]
        np.testing.assert_allclose(shown, stacked.max(0), atol=1e-6)


@pytest.mark.parametrize("source", VARIANTS, ids=range(len(VARIANTS)))
def test_truth_is_consistent(source: Sprites) -> None:
    for clip in sample(source, 5):
        n = source.objects
        assert clip.frames.shape == (source.frames, source.size, source.size, 3)
        assert sorted(clip.depth_ranks) == list(range(n))
        if source.paint == "texture":
            assert clip.colours is None
        else:
            assert len({tuple(colour) for colour in clip.colours}) == (n if source.paint == "own" else 1)
            assert {tuple(np.rint(c * 4)) for c in clip.colours} <= {tuple(np.rint(c * 4)) for c in COLOURS}
        np.testing.assert_allclose(np.diff(clip.centres, axis=0), clip.velocities[:-1], atol=1e-4)
        radii = np.array(clip.facts["radii"])[:, None]
        assert (clip.centres >= radii - 1e-4).all()
        assert (clip.centres <= source.size - radii + 1e-4).all()
        # No object is cut by the frame: its area stays the same (4x4 points per pixel tell it to a few per cent).
        areas = clip.amodal_masks.sum((2, 3)) / 255
        assert (np.ptp(areas, axis=0) <= 0.12 * areas.mean(0) + 2).all()


def test_paths_cross_to_the_opposite_quadrant_from_a_quadrant_each() -> None:
    for clip in sample(Sprites(objects=4), 50):
        side = np.sign(clip.centres[0] - 32)
        assert len({tuple(s) for s in side}) == 4
        assert (np.sign(clip.velocities[0]) == -side).all()


def test_shuffled_frames_are_those_of_a_path_in_no_order() -> None:
    """The places of a clip lie evenly on a line; which comes first is chance."""
    at = []
    for clip in sample(Sprites(shuffled=True, objects=1, frames=6), 40):
        way = clip.centres[:, 0] - clip.centres[0, 0]
        along = way @ way[abs(way).sum(1).argmax()]
        order = along.argsort()
        gaps = np.diff(clip.centres[order, 0].astype(np.float64), axis=0)
        np.testing.assert_allclose(gaps, gaps[:1].repeat(5, 0), atol=1e-4)
        at.append(min(order.argsort()[0], order[::-1].argsort()[0]))
    assert set(at) == {0, 1, 2}, "the first frame is at the end of the path in a third of the clips only"


def test_random_directions_are_uniform() -> None:
    clips = sample(Sprites(direction="random", objects=4), 300)
    way = np.concatenate([clip.velocities[0] for clip in clips])
    turns = np.histogram(np.arctan2(way[:, 1], way[:, 0]), 8, (-np.pi, np.pi))[0]
    assert ((turns - 150) ** 2 / 150).sum() < 24.3  # chi square, 7 degrees of freedom, p = 0.001


@pytest.mark.parametrize("shape", ["circle", "square", "triangle"])
def test_a_moved_mask_is_the_shifted_mask(shape: str) -> None:
    """Masks moved by a whole number of pixels between two frames are equal after the shift."""
    centres = np.array([[[20.25, 24.5]], [[27.25, 19.5]]], np.float32)
    masks = rasterise(centres, np.array([9.3]), np.array([SHAPES.index(shape)]), 64, 4)
    np.testing.assert_array_equal(np.roll(masks[0, 0], (-5, 7), (0, 1)), masks[1, 0])
    assert masks.max() == 255


# Published for 300 clips of this generator (two digits): speeds 2.0 to 4.5 px/frame (5th, 95th percentile) and, per
# number of objects: covered share of the frame, hidden share of an object, share of clips with an object over 80 %
# hidden at some time, decibels of repeating the last frame and of black, hard-edged or antialiased as said.
PUBLISHED = {
    2: (0.11, 0.10, 0.28, 18.1, 14.4),
    3: (0.15, 0.18, 0.67, 16.7, 13.0),
    4: (0.19, 0.23, 0.94, 16.2, 12.0),
}


@pytest.mark.parametrize("objects", PUBLISHED)
def test_statistics_match_the_published_ones(objects: int) -> None:
    covered, hidden, vanishing, copy_last, black = PUBLISHED[objects]
    clips = sample(Sprites(objects=objects), 300)
    speeds = np.concatenate([np.linalg.norm(clip.velocities[0], axis=-1) for clip in clips])
    np.testing.assert_allclose(np.percentile(speeds, [5, 95]), [2.0, 4.5], atol=0.15)
    assert np.mean([(clip.visible_ids > 0).mean() for clip in clips]) == pytest.approx(covered, abs=0.008)

    assert decibels(clips, copy=True) == pytest.approx(copy_last, abs=0.45)
    assert decibels(clips, copy=False) == pytest.approx(black, abs=0.45)

    hard = sample(replace(Sprites(objects=objects), hard_edges=True), 300)
    whole = np.stack([(clip.amodal_masks > 0).sum((2, 3)) for clip in hard])
    ids = np.arange(1, objects + 1)
    seen = np.stack(
        [[np.bincount(f.ravel(), minlength=objects + 1)[ids] for f in clip.visible_ids] for clip in hard]
    )
    lost = 1 - seen / whole
    assert lost.mean() == pytest.approx(hidden, abs=0.02)
    # Two samples of 300 clips: three standard errors of their difference.
    error = 3 * np.sqrt(vanishing * (1 - vanishing) * (2 / 300))
    assert (lost > 0.8).any((1, 2)).mean() == pytest.approx(vanishing, abs=error)


def test_hard_edges_make_copying_worse() -> None:
    for objects, expected in {2: 17.6, 3: 16.3, 4: 15.6}.items():
        clips = sample(Sprites(objects=objects, hard_edges=True), 300)
        assert decibels(clips, copy=True) == pytest.approx(expected, abs=0.45)


def test_larger_frames_show_the_same_scene() -> None:
    small, large = Sprites().clip("train", 3, 0), Sprites(size=128).clip("train", 3, 0)
    np.testing.assert_allclose(large.centres, 2 * small.centres, rtol=1e-5)
    halved = large.frames.reshape(11, 64, 2, 64, 2, 3).mean((2, 4))
    assert abs(halved - small.frames).mean() < 1


def test_a_clip_needs_no_other_clip_and_splits_share_none() -> None:
    source = Sprites(size=16, frames=3)
    clips = {split: list(source.clips(split, 400, 5)) for split in ("train", "val", "test")}
    alone = source.clip("val", 399, 5)
    np.testing.assert_array_equal(alone.frames, clips["val"][399].frames)
    assert alone.key == clips["val"][399].key
    every = [clip for some in clips.values() for clip in some]
    assert len({clip.frames.tobytes() for clip in every}) == len(every) == 1200
    assert len({clip.key for clip in every}) == 1200
    assert source.clip("train", 0, 5).frames.tobytes() != source.clip("train", 0, 6).frames.tobytes()


def test_textures_are_smooth_and_static() -> None:
    clip = Sprites(background="texture", objects=1).clip("train", 0, 0)
    back = render_background(np.array(clip.facts["background"], np.uint8), 64)
    assert back.std((0, 1)).min() > 0.1
    assert max(abs(np.diff(back, axis=a)).max() for a in (0, 1)) < 0.12
    never_covered = (clip.amodal_masks == 0).all((0, 1))
    assert np.ptp(clip.frames[:, never_covered], axis=0).max() == 0


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"objects": 5}, "objects 5"),
        ({"objects": 0}, "objects 0"),
        ({"size": 4}, "size 4"),
        ({"frames": 1}, "frames 1"),
        ({"radius_min": 11.0}, "radius_min 11"),
        ({"shapes": ("star",)}, "star"),
        ({"direction": "left"}, "'left'"),
        ({"background": "white"}, "'white'"),
        ({"paint": "red"}, "'red'"),
    ],
)
def test_bad_parameters_are_named(bad: dict[str, Any], word: str) -> None:
    # The type checker of the tests is faster than the dataclass where the choice is a Literal.
    with pytest.raises((ValueError, TypeError), match=word):
        Sprites(**bad)


def test_bad_split_and_seed_are_named() -> None:
    with pytest.raises(ValueError, match="split 'dev'"):
        next(Sprites().clips("dev", 1, 0))
    with pytest.raises(ValueError, match="seed -1"):
        next(Sprites().clips("train", 1, -1))
