"""Bouncing balls: physics against a loop over numbers and conserved quantities, truth against frames, statistics."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_shards.clip import Clip
from data_shards.loader import DataConfig, scan
from data_shards.sources.bouncing_balls import BOX, PALETTE, BouncingBalls, first_places, simulate
from data_shards.writer import build

FOUR = BouncingBalls()
MANY = BouncingBalls(fewest=6, objects=8)
CURTAIN = BouncingBalls(fewest=3, objects=3, radii=(1.2,), masses=(1.0,), speed=0.5, curtain=28)


@cache
def sample(source: BouncingBalls, count: int) -> list[Clip]:
    return list(source.clips("train", count, 3))


def reference(place: Any, way: Any, radii: Any, masses: Any, frames: int) -> list[Any]:
    """The public generator's loop, ball by ball and axis by axis, on lists of numbers."""
    n, seen = len(place), []
    for _ in range(frames):
        seen.append([list(p) for p in place])
        for _ in range(2):
            for i in range(n):
                for z in range(2):
                    place[i][z] += 0.5 * way[i][z]
            for i in range(n):
                for z in range(2):
                    if place[i][z] - radii[i] < 0:
                        way[i][z] = abs(way[i][z])
                    if place[i][z] + radii[i] > 10:
                        way[i][z] = -abs(way[i][z])
            for i in range(n):
                for j in range(i):
                    dx, dy = place[i][0] - place[j][0], place[i][1] - place[j][1]
                    gap = (dx * dx + dy * dy) ** 0.5
                    if gap < radii[i] + radii[j]:
                        dx, dy = dx / gap, dy / gap
                        v1, v2 = (way[k][0] * dx + way[k][1] * dy for k in (i, j))
                        new2 = (2 * masses[i] * v1 + v2 * (masses[j] - masses[i])) / (masses[i] + masses[j])
                        new1 = new2 + v2 - v1
                        for k, change in ((i, new1 - v1), (j, new2 - v2)):
                            way[k][0] += dx * change
                            way[k][1] += dy * change
    return seen


def drawn(seed: int, n: int = 6) -> Any:
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 2, n)
    radii, masses = np.array([0.8, 1.0])[kinds], np.array([1.0, 6.0])[kinds]
    way = rng.normal(size=(n, 2))
    return first_places(rng, radii), way / np.linalg.norm(way) * 0.6, radii, masses


@pytest.mark.parametrize("seed", range(4))
def test_motion_is_the_public_generators(seed: int) -> None:
    start, way, radii, masses = drawn(seed)
    places, _, hits = simulate(start, way, radii, masses, 40)
    expected = reference(start.tolist(), way.tolist(), radii.tolist(), masses.tolist(), 40)
    np.testing.assert_allclose(places, expected, atol=1e-7)
    assert hits.any()


def test_a_pair_keeps_momentum_and_every_hit_keeps_energy() -> None:
    """Without walls in reach a heavy ball hits a light one; in a full box energy drifts by rounding alone."""
    places, ways, hits = simulate(
        np.array([[3.0, 5.0], [6.0, 5.3]]),
        np.array([[0.4, 0.0], [-0.1, 0.0]]),
        np.array([1, 0.8]),
        M := np.array([6.0, 1.0]),
        8,
    )
    assert hits.sum(0).tolist() == [1, 1]
    np.testing.assert_allclose(np.einsum("n,tnz->tz", M, ways), [[2.3, 0.0]] * 8, atol=1e-12)
    assert ways[-1, 1, 0] > ways[-1, 0, 0]
    assert np.linalg.norm(places[-1, 0] - places[-1, 1]) > 1.8
    for seed in range(5):
        start, way, radii, masses = drawn(seed)
        _, ways, _ = simulate(start, way, radii, masses, 500)
        energy = np.einsum("n,tnz->t", masses, ways**2)
        assert np.ptp(energy) < 1e-9 * energy[0]


def test_statistics_of_the_released_videos() -> None:
    """Of 64-pixel videos: areas 82 and 129 to 130, sum of squared speeds 4.55 whatever the number,
    a tenth of the pixels lit, speeds 0.9 (median) and 2.1 (95th percentile) pixels a frame."""
    for source in (FOUR, MANY):
        clips = sample(source, 100)
        areas = [clip.amodal_masks.sum((2, 3)).mean(0) / 255 for clip in clips]
        kinds = np.concatenate([clip.categories for clip in clips])
        area = np.concatenate(areas)
        # At the walls a little is cut off.
        assert area[kinds == 0].mean() == pytest.approx(82, rel=0.02)
        assert area[kinds == 1].mean() == pytest.approx(129, rel=0.02)
        assert (kinds == 1).mean() == pytest.approx(0.5, abs=0.1)
        first = np.array([(clip.velocities[0] ** 2).sum() for clip in clips if not clip.collisions[0].any()])
        assert np.median(first) == pytest.approx(4.55, rel=0.01)
        counts = [len(clip.categories) for clip in clips]
        assert set(counts) == set(range(source.fewest, source.objects + 1))
    assert np.mean([(clip.frames > 0).mean() for clip in sample(FOUR, 100)]) == pytest.approx(0.1, abs=0.006)
    speeds = np.concatenate([np.linalg.norm(clip.velocities, axis=-1).ravel() for clip in sample(FOUR, 100)])
    assert np.median(speeds) == pytest.approx(0.9, abs=0.1)
    assert np.percentile(speeds, 95) == pytest.approx(2.1, abs=0.15)
    # At a wall a ball enters by what it goes in half a frame, at most.
    light = np.concatenate(
        [clip.centres[:, clip.categories == 0].reshape(-1, 2) for clip in sample(FOUR, 100)]
    )
    assert light.min() == pytest.approx(64 - light.max(), abs=0.5)
    assert 5.12 - speeds.max() / 2 < light.min() < 5


def test_energy_and_mass_ratio_as_displacements_tell_them() -> None:
    """Where nothing is hit before the next frame; the ratio of the weights by regression, as it was measured."""
    clip = BouncingBalls(frames=500).clip("train", 1, 0)
    masses = np.array(clip.facts["masses"])
    free = ~clip.collisions.any((1, 2)) & (clip.centres > 7.5).all((1, 2)) & (clip.centres < 56.5).all((1, 2))
    squares = (clip.velocities[free] ** 2).sum(-1)
    energy = squares @ masses
    assert free.sum() > 20
    assert np.ptp(energy) < 0.02 * energy.mean()
    assert set(masses) == {1.0, 6.0}
    light, heavy = squares[:, masses == 1].sum(1), squares[:, masses == 6].sum(1)
    slope = np.polyfit(heavy, light, 1)[0]
    assert -slope == pytest.approx(6, rel=0.03)


def test_the_curtain_hides_and_has_statistics_of_its_own() -> None:
    clips = sample(CURTAIN, 30)
    assert np.mean([clip.amodal_masks.sum((2, 3)).mean() / 255 for clip in clips]) == pytest.approx(
        185, rel=0.02
    )
    assert (clips[0].velocities[0] ** 2).sum() == pytest.approx(10.24, rel=0.02)  # .5 units of 6.4 pixels
    corners = set()
    for clip in clips:
        facts: Any = clip.facts
        x, y, side = facts["curtain"]
        assert side == 28
        corners.add((x, y))
        behind = np.zeros((64, 64), bool)
        behind[y : y + 28, x : x + 28] = True
        assert not clip.frames[:, behind].any()
        whole = clip.amodal_masks.any(1)
        np.testing.assert_array_equal(clip.visible_ids > 0, whole & ~behind)
    assert len(corners) == 30


@pytest.mark.parametrize(
    "source", [MANY, CURTAIN, BouncingBalls(size=33, frames=9, paint="colour", collide=False)]
)
def test_truth_is_of_what_is_drawn(source: BouncingBalls) -> None:
    points = np.arange(source.size) + 0.5
    for clip in sample(source, 4):
        radii = np.array(clip.facts["radii"])
        x, y = np.moveaxis(clip.centres.astype(np.float64), -1, 0)[..., None, None]
        discs = (points - x) ** 2 + (points[:, None] - y) ** 2 <= radii[:, None, None] ** 2
        np.testing.assert_array_equal(clip.amodal_masks, discs * np.uint8(255))
        np.testing.assert_allclose(np.diff(clip.centres, axis=0), clip.velocities[:-1], atol=1e-5)
        np.testing.assert_allclose(
            clip.boxes.reshape(*clip.centres.shape[:2], 2, 2).mean(2), clip.centres, atol=1e-4
        )
        np.testing.assert_allclose(
            clip.boxes[..., 2] - clip.boxes[..., 0], 2 * radii[None].repeat(source.frames, 0), rtol=1e-4
        )
        ids = clip.visible_ids.astype(int)
        shown = np.take_along_axis(discs, np.maximum(ids - 1, 0)[:, None], 1)[:, 0]
        assert shown[ids > 0].all()
        # The nearer one of two is the one with the lower number.
        front = np.where(discs.any(1), discs.argmax(1) + 1, 0)
        assert ((ids == front) | (ids == 0)).all()
        paints = np.concatenate([np.zeros_like(clip.colours[:1]), clip.colours])
        np.testing.assert_array_equal(clip.frames, np.rint(paints[ids] * 255))


def test_collisions_are_where_velocities_change_between_balls() -> None:
    """Who hits a ball changes its velocity with another one; who does not goes straight, but for the walls."""
    for clip in sample(BouncingBalls(speed=0.8), 10):
        struck = np.stack([(clip.collisions * (clip.visible_ids == i + 1)).any((1, 2)) for i in range(4)], 1)
        assert set(struck.sum(1)) <= {0, 2, 3, 4}
        # All that is seen of a ball, or nothing.
        spread: Any = np.pad(struck, ((0, 0), (1, 0)))
        spread = spread[np.arange(51)[:, None, None], clip.visible_ids]
        np.testing.assert_array_equal(spread, clip.collisions)
        turned = np.abs(np.diff(clip.velocities, axis=0)).max(-1) > 1e-3
        # From t - 1 to t and from t to t + 1 nothing was hit, and no wall was in reach.
        reach = np.array(clip.facts["radii"]) + 12
        inner: Any = ((clip.centres > reach[:, None]) & (clip.centres < 64 - reach[:, None])).all(-1)
        calm = ~struck[:-1] & ~struck[1:] & inner[:-1]
        assert calm.any()
        assert not turned[calm].any()
        assert struck.any()
    assert not any(clip.collisions.any() for clip in sample(BouncingBalls(collide=False), 5))


def test_colours_are_the_palettes_in_order_of_number() -> None:
    for clip in sample(BouncingBalls(fewest=8, objects=8, paint="colour", colours=4, frames=2), 3):
        assert clip.frames.shape == (2, 64, 64, 3)
        np.testing.assert_array_equal(np.rint(clip.colours * 255), [*PALETTE[:4], *PALETTE[:4]])
    binary, coloured = BouncingBalls().clip("test", 5, 1), BouncingBalls(paint="colour").clip("test", 5, 1)
    np.testing.assert_array_equal(binary.frames[..., 0] > 0, coloured.frames.any(-1))
    assert set(np.unique(binary.frames)) == {0, 255}


def test_colours_may_be_drawn_for_each_clip() -> None:
    by_number = BouncingBalls(objects=3, fewest=3, paint="colour", frames=2)
    drawn = replace(by_number, colouring="drawn")
    seen = set()
    for index in range(60):
        clip, same = drawn.clip("train", index, 0), by_number.clip("train", index, 0)
        np.testing.assert_array_equal(clip.visible_ids, same.visible_ids)
        paints = np.rint(clip.colours * 255).astype(np.uint8)
        for ball in range(3):
            assert (clip.frames[clip.visible_ids == ball + 1] == paints[ball]).all()
        found = [int((paint == PALETTE).all(1).argmax()) for paint in paints]
        assert len(set(found)) == 3
        seen.add(tuple(found))
    assert len(seen) > 40  # of 336


def test_first_places_are_in_the_box_and_apart() -> None:
    rng = np.random.default_rng(0)
    radii = np.array([0.8, 1.0, 1.2, 0.8, 1.0, 1.0, 0.8, 1.0])
    found = np.stack([first_places(rng, radii) for _ in range(20)])
    assert (found >= np.maximum(radii[:, None], 2)).all()
    assert (found <= BOX - radii[:, None]).all()
    gaps = np.linalg.norm(found[:, :, None] - found[:, None], axis=-1)
    reach = radii[:, None] + radii
    assert (gaps >= reach)[:, ~np.eye(8, dtype=bool)].all()
    with pytest.raises(ValueError, match="objects 12: so many balls"):
        first_places(rng, np.full(12, 1.2))


def test_clips_of_six_to_eight_are_stored_and_padded(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    source = BouncingBalls(size=16, frames=3, fewest=6, objects=8)
    manifest = build("bouncing-balls", source, url, {"train": 12}, 0)
    assert (manifest.shape, manifest.objects) == ((3, 16, 16, 1), 8)
    (batch,) = scan(DataConfig(url), "train", 12, fields=None)
    assert set(batch.present.sum(1).tolist()) <= {6, 7, 8}
    assert batch.collisions.shape == (12, 3, 16, 16)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"size": 7}, "size 7"),
        ({"frames": 1}, "frames 1"),
        ({"objects": 0}, "objects 0"),
        ({"fewest": 5}, "fewest 5"),
        ({"radii": (1.0,)}, "radii"),
        ({"radii": (1.0, 6.0)}, "at most 5"),
        ({"masses": (1.0, 0.0)}, "masses"),
        ({"speed": -1.0}, "speed -1.0"),
        ({"colours": 9}, "colours 9"),
        ({"curtain": 65.0}, "curtain 65"),
    ],
)
def test_bad_parameters_are_named(bad: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        BouncingBalls(**bad)
