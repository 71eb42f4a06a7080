"""What warping a frame by true flow makes of its neighbour (arXiv 1511.06309, section 5), on scenes of known motion.

The paper's sanity test warps frames by their true flow. Its direction is a trap: a file's flow lives on the grid of
frame t, so only frame t can be made exactly, from t + 1; `after_from_before`, the direction the paper words, takes
the flow of a place for that of what arrives there, and is wrong near the edges of what moves.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from scipy.ndimage import map_coordinates
from torch import Tensor

from model.ops.flow import warp_by_flow
from trainer.pictures.flo import parse_flo

SIZE = 96
LAYERS = ((-0.75, 0.5), (3.25, -2.5))  # (x, y) of the background and of a disc, in pixels per frame
CENTRE, RADIUS = (40.0, 52.0), 18.0
WAVES = ((0.21, 0.13, 0.3), (-0.11, 0.34, 1.1), (0.4, -0.05, 2.0))  # radians per pixel, phase
SAME = 1.0  # pixels: neighbours that move less differently belong together


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
    np.testing.assert_allclose(warp_by_flow(frame, flow)[0][inside], expected[inside.numpy()], atol=1e-4)


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
    level = float((warp_by_flow(warp_by_flow(before, half), -half) - before)[:, 2:-2, 2:-2].abs().mean())
    exact, other = before_from_after(before, after, flow), after_from_before(before, after, flow)
    assert exact.share > 0.75
    assert exact.l1 < 1.25 * level
    assert exact.squared < 0.0025
    assert other.l1 < 0.75 * level
    assert other.squared < 0.0025
    for trap in (before_from_after(before, after, -flow), before_from_after(after, before, flow)):
        assert trap.l1 > 3 * exact.l1


@dataclass(frozen=True)
class Warping:
    """Errors of a frame made by warping, means over pixels and channels of values in [0, 1].

    `l1` and `squared` are over the `share` of pixels that are visible in both frames, the others over all pixels.
    """

    share: float
    l1: float
    squared: float
    l1_everywhere: float
    squared_everywhere: float


def before_from_after(
    before: Float[Tensor, "c h w"], after: Float[Tensor, "c h w"], flow: Float[Tensor, "2 h w"]
) -> Warping:
    """Frame t made by sampling t + 1 at p + flow(p), `flow` on the grid of t: exact but for interpolation."""
    return _compare(warp_by_flow(after, _still(flow)), before, visible_after(flow))


def after_from_before(
    before: Float[Tensor, "c h w"], after: Float[Tensor, "c h w"], flow: Float[Tensor, "2 h w"]
) -> Warping:
    """Frame t + 1 made by sampling t at p - flow(p), `flow` on the grid of t: an approximation.

    Counted as visible is a pixel whose flow is that of the place it would come from, if that stays visible.
    """
    back = -_still(flow)
    there = warp_by_flow(_still(flow), back)
    seen = warp_by_flow(visible_after(flow)[None].float(), back)[0] > 0.99
    return _compare(warp_by_flow(before, back), after, seen & ((there + back).abs() <= SAME).all(0))


def visible_after(flow: Float[Tensor, "2 h w"]) -> Bool[Tensor, "h w"]:
    """Pixels of frame t that are surely visible in t + 1, by the flow alone.

    They stay inside the frame, and nothing that moves otherwise arrives within a pixel of them. Flow does not say
    which of two such pixels hides the other: neither counts.
    """
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    end = torch.stack([x, y]).to(flow) + _still(flow)
    known = flow.isfinite().all(0)
    limit = torch.tensor([width - 1, height - 1], device=flow.device)[:, None, None]
    inside = known & (end >= 0).all(0) & (end <= limit).all(0)
    cell = end.round().clamp(min=torch.zeros_like(limit), max=limit).long()
    index = (cell[1] * width + cell[0])[inside].expand(2, -1)
    arriving = flow[:, inside]
    empty = flow.new_zeros(2, height * width)
    largest = empty.scatter_reduce(1, index, arriving, "amax", include_self=False).view(2, height, width)
    smallest = empty.scatter_reduce(1, index, arriving, "amin", include_self=False).view(2, height, width)
    reached = flow.new_zeros(height * width).index_fill(0, index[0], 1.0).view(height, width) > 0
    # Spread over 3x3 cells: bilinear sampling looks at neighbours too.
    fastest = _spread(largest.masked_fill(~reached, -torch.inf))
    slowest = -_spread((-smallest).masked_fill(~reached, -torch.inf))
    contested = ((fastest - slowest) > SAME).any(0)
    return inside & ~contested[cell[1], cell[0]]


def _spread(values: Float[Tensor, "2 h w"]) -> Float[Tensor, "2 h w"]:
    """The largest value among each cell and its eight neighbours."""
    return F.max_pool2d(values[None], 3, stride=1, padding=1)[0]


def _still(flow: Float[Tensor, "2 h w"]) -> Float[Tensor, "2 h w"]:
    """Unknown motion as none."""
    return flow.nan_to_num(nan=0.0)


def _compare(
    made: Float[Tensor, "c h w"], true: Float[Tensor, "c h w"], seen: Bool[Tensor, "h w"]
) -> Warping:
    error = made - true
    part = error[:, seen]
    return Warping(
        share=float(seen.float().mean()),
        l1=float(part.abs().mean()),
        squared=float(part.square().mean()),
        l1_everywhere=float(error.abs().mean()),
        squared_everywhere=float(error.square().mean()),
    )
