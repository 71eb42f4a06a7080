"""Flow errors on scenes whose motion is known: warping both ways, the trap of direction, what is hidden."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import map_coordinates

from model.ops.flow import warp
from trainer.pictures.flo import parse_flo
from trainer.scores.warping import after_from_before, before_from_after, end_point_error, visible_after

SIZE = 96
LAYERS = ((-0.75, 0.5), (3.25, -2.5))  # (x, y) of the background and of a disc, in pixels per frame
CENTRE, RADIUS = (40.0, 52.0), 18.0
WAVES = ((0.21, 0.13, 0.3), (-0.11, 0.34, 1.1), (0.4, -0.05, 2.0))  # radians per pixel, phase


def texture(x: torch.Tensor, y: torch.Tensor, layer: int) -> torch.Tensor:
    waves = [torch.sin(a * x + b * y + c * (1 + layer)) for a, b, c in WAVES]
    return 0.5 + torch.stack(waves).sum(0) / (2 * len(waves))


# Bilinear interpolation errs by at most (|f_xx| + |f_yy|) / 8: of this texture, whatever the motion.
INTERPOLATION = sum(a * a + b * b for a, b, _ in WAVES) / (2 * len(WAVES)) / 8


def scene(t: float, moving: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Frame (1, h, w) at time t, computed from the formula (no interpolation), and who owns each pixel."""
    y, x = torch.meshgrid(torch.arange(SIZE).double(), torch.arange(SIZE).double(), indexing="ij")
    places = [(x - u * t * moving, y - v * t * moving) for u, v in LAYERS]
    disc = torch.hypot(places[1][0] - CENTRE[0], places[1][1] - CENTRE[1]) <= RADIUS
    frame = torch.where(disc, texture(*places[1], 1), texture(*places[0], 0))
    return frame[None].float(), disc


def flow_of_scene() -> torch.Tensor:
    disc = scene(0)[1]
    return torch.stack([torch.where(disc, LAYERS[1][i], LAYERS[0][i]) for i in range(2)]).float()


def test_warping_is_scipys_bilinear_sampling() -> None:
    frame, _ = scene(1)
    flow = torch.randn(2, SIZE, SIZE) * 3
    y, x = np.mgrid[:SIZE, :SIZE]
    expected = map_coordinates(frame[0].double().numpy(), (y + flow[1].numpy(), x + flow[0].numpy()), order=1)
    inside = visible_inside(flow)
    np.testing.assert_allclose(warp(frame, flow)[0][inside], expected[inside.numpy()], atol=1e-4)


def visible_inside(flow: torch.Tensor) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    ends = torch.stack([x, y]) + flow
    return (ends >= 0).all(0) & (ends <= SIZE - 1).all(0)


def test_known_sub_pixel_motion_leaves_the_error_of_interpolation() -> None:
    (before, _), (after, _), flow = scene(0), scene(1), flow_of_scene()
    exact = before_from_after(before, after, flow)
    assert exact.share > 0.8
    assert exact.l1 < INTERPOLATION
    assert exact.squared < INTERPOLATION**2
    assert exact.squared >= exact.l1**2  # Jensen: they are of the same pixels
    assert exact.l1_everywhere > 2 * exact.l1  # what is hidden cannot be made
    other = after_from_before(before, after, flow)
    assert other.share > 0.8
    assert other.l1 < INTERPOLATION
    assert other.squared < INTERPOLATION**2
    assert other.l1_everywhere > 2 * other.l1


@pytest.mark.parametrize("wrong", ["sign", "frames", "axes", "next as same"])
def test_wrong_directions_are_found_out(wrong: str) -> None:
    (before, _), (after, _), flow = scene(0), scene(1), flow_of_scene()
    right = before_from_after(before, after, flow)
    match wrong:
        case "sign":
            trap = before_from_after(before, after, -flow)
        case "frames":
            trap = before_from_after(after, before, flow)
        case "axes":
            trap = before_from_after(before, after, flow.flip(0))
        case _:  # sampling frame t at p + flow does not make frame t + 1
            trap = after_from_before(before, after, -flow)
    assert trap.l1 > 5 * right.l1
    assert trap.squared > 10 * right.squared


def test_visible_is_what_the_scene_shows_in_both_frames() -> None:
    """Against who owns the pixel where each point of frame 0 goes."""
    disc, flow = scene(0)[1], flow_of_scene()
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    end = torch.stack([x, y]) + flow
    covered = torch.hypot(end[0] - CENTRE[0] - LAYERS[1][0], end[1] - CENTRE[1] - LAYERS[1][1]) <= RADIUS
    truly = visible_inside(flow) & (disc | ~covered)
    found = visible_after(flow)
    assert not (found & ~truly).any()
    assert found.sum() > 0.9 * truly.sum()
    assert visible_after(torch.zeros(2, 9, 9)).all()
    stretched = torch.stack([0.2 * (x - 48), 0.2 * (y - 48)]) * -1.0  # contraction hides nothing
    assert visible_after(stretched).all()
    unknown = torch.zeros(2, 9, 9)
    unknown[0, 4, 4] = torch.nan
    assert visible_after(unknown).sum() == 80


def test_end_point_error_is_the_mean_distance_where_the_truth_is_known() -> None:
    flow, truth = torch.randn(3, 2, 5, 6), torch.randn(3, 2, 5, 6)
    truth[1, 0, 2, 3] = truth[2] = torch.nan
    found = end_point_error(flow, truth)
    for i in range(2):
        distances = [
            math.dist(flow[i, :, y, x].tolist(), truth[i, :, y, x].tolist())
            for y in range(5)
            for x in range(6)
            if (i, y, x) != (1, 2, 3)
        ]
        assert float(found[i]) == pytest.approx(sum(distances) / len(distances), abs=1e-5)
    assert found[2].isnan()


@pytest.mark.parametrize("number", range(3))
def test_sanity_test_on_true_flow(real_data: Path, number: int) -> None:
    """The paper's test (section 5): 0.004 per pixel. Level of interpolation: a pair of half-pixel shifts.

    The second frames of these pairs were themselves made by interpolation, from the first: so the direction that is
    inexact by geometry repeats that and errs less, while the exact one interpolates what is blurred already.
    """
    name = f"{real_data}/flow/{number:07d}"
    before, after = (
        torch.from_numpy(np.array(Image.open(f"{name}-img{i}.ppm"))).permute(2, 0, 1).float() / 255
        for i in range(2)
    )
    flow = parse_flo(Path(f"{name}-gt.flo").read_bytes())
    half = torch.full_like(flow, 0.5)
    level = float((warp(warp(before, half), -half) - before)[:, 2:-2, 2:-2].abs().mean())
    exact, other = before_from_after(before, after, flow), after_from_before(before, after, flow)
    assert exact.share > 0.75
    assert exact.l1 < 1.25 * level
    assert exact.squared < 0.0025
    assert other.l1 < 0.75 * level
    assert other.squared < 0.0025
    for trap in (before_from_after(before, after, -flow), before_from_after(after, before, flow)):
        assert trap.l1 > 3 * exact.l1
