"""Warping: directions, products, inverses and precision, against linear algebra and torch's own grids."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.ops.spatial_transformer import (
    compose_motions,
    compose_over_time,
    identity,
    inverse,
    move_points,
    near_identity,
    pixel_centres,
    translation,
    warp,
)


def random_motion(*shape: int, kind: int = 8) -> Tensor:
    return near_identity(0.2 * torch.rand(*shape, kind) - 0.1)


def rotation(degrees: float, scale: float = 1.0) -> Tensor:
    angle = torch.deg2rad(torch.tensor(degrees))
    z = torch.eye(3)
    z[:2, :2] = scale * torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    return z


def blob(size: int = 64) -> Tensor:
    """A smooth, lopsided image: two Gaussians of different width and height."""
    x, y = pixel_centres(size, size, torch.zeros(1)).unbind(-1)
    first = torch.exp(-((x - 0.15) ** 2 / 0.02 + (y + 0.2) ** 2 / 0.06))
    return (first + 0.6 * torch.exp(-((x + 0.2) ** 2 + (y - 0.1) ** 2) / 0.03))[None, None]


def test_sampling_further_right_moves_content_left() -> None:
    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 7, 9] = 1
    moved = warp(image, translation(torch.tensor([[5 * 2 / 16, 0.0]])))
    assert moved[0, 0, 7, 4] == pytest.approx(1, abs=1e-5)
    assert moved.sum() == pytest.approx(1, abs=1e-5)


def test_forward_motion_moves_content_its_way() -> None:
    image = torch.zeros(1, 1, 16, 32)
    image[0, 0, 7, 9] = 1
    z = translation(torch.tensor([[3 * 2 / 32, -2 * 2 / 16]]))
    assert warp(image, inverse(z))[0, 0, 5, 12] == pytest.approx(1, abs=1e-5)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    image = torch.rand(1, 2, 8, 8)
    moved = warp(image, translation(torch.tensor([[1 / 8, 0.0]])))
    torch.testing.assert_close(moved[..., :-1], (image[..., :-1] + image[..., 1:]) / 2)
    torch.testing.assert_close(moved[..., -1], image[..., -1] / 2)  # zeros outside


def test_affine_warp_equals_torch() -> None:
    images, theta = torch.rand(5, 3, 12, 20), random_motion(5, kind=6)
    grid = F.affine_grid(theta[:, :2], [5, 3, 12, 20], align_corners=False)
    torch.testing.assert_close(warp(images, theta), F.grid_sample(images, grid, align_corners=False))


def test_projective_points_equal_homogeneous_division() -> None:
    z, points = random_motion(7).double(), torch.rand(7, 2)
    homogeneous = torch.cat([points.double(), torch.ones(7, 1)], 1)
    moved = torch.linalg.solve(torch.linalg.inv(z), homogeneous)
    moved = moved[:, :2] / moved[:, 2:]
    torch.testing.assert_close(move_points(z, points.double()), moved, atol=1e-12, rtol=0)
    torch.testing.assert_close(move_points(z.float(), points).double(), moved, atol=1e-5, rtol=0)
    assert move_points(z.bfloat16(), points.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("kind", [2, 6, 8])
def test_products_and_inverses_equal_linalg(kind: int) -> None:
    a, b = random_motion(4, 3, kind=kind), random_motion(4, 3, kind=kind)
    torch.testing.assert_close(compose_motions(a, b), a @ b)
    torch.testing.assert_close(inverse(a), torch.linalg.inv(a))
    torch.testing.assert_close(compose_motions(a, inverse(a)), identity(4, 3, like=a), atol=1e-6, rtol=0)


def test_motion_over_time_applies_the_earliest_first() -> None:
    motion = random_motion(2, 3, 4)
    expected = motion[:, 2] @ motion[:, 1] @ motion[:, 0]
    torch.testing.assert_close(compose_over_time(motion), expected)
    torch.testing.assert_close(compose_over_time(motion[:, :0]), identity(2, 4, like=motion))


def test_two_warps_equal_the_warp_by_their_product_and_not_by_the_reverse() -> None:
    """The sheet's check: bugs in the order of products stay invisible with translations, which commute."""
    first = compose_motions(translation(torch.tensor([0.12, -0.05])), rotation(25.0, 1.1))
    second = compose_motions(translation(torch.tensor([-0.1, 0.15])), rotation(15.0, 0.85))
    stepwise = warp(warp(blob(), inverse(first)[None]), inverse(second)[None])
    right = warp(blob(), inverse(compose_motions(second, first))[None])
    wrong = warp(blob(), inverse(compose_motions(first, second))[None])
    assert (stepwise - right).abs().max() < 0.02
    assert (stepwise - wrong).abs().max() > 0.06


def test_there_and_back_again() -> None:
    z = compose_motions(translation(torch.tensor([0.1, 0.05])), rotation(20.0))[None]
    assert (warp(warp(blob(), inverse(z)), z) - blob()).abs().max() < 0.03  # twice interpolated


def test_ten_half_pixel_warps_blur_as_measured() -> None:
    """A 12x12 square moved ten times by half a pixel against once by five: 23.9 dB, mean L1 0.014 over the frame."""
    image = torch.zeros(1, 1, 64, 64)
    image[..., 20:32, 20:32] = 1
    blurred = image
    for _ in range(10):
        blurred = warp(blurred, inverse(translation(torch.tensor([[0.5 * 2 / 64, 0.0]]))))
    once = warp(image, inverse(translation(torch.tensor([[5 * 2 / 64, 0.0]]))))
    error = (blurred - once).square().mean()
    assert -10 * torch.log10(error) == pytest.approx(23.9, abs=3.0)
    assert (blurred - once).abs().max() < 0.7


@pytest.mark.parametrize("residual", [2, 6, 8])
def test_no_residual_is_exactly_the_identity(residual: int) -> None:
    assert torch.equal(near_identity(torch.zeros(3, residual)), torch.eye(3).expand(3, 3, 3))


def test_residuals_reach_their_entries() -> None:
    z = near_identity(torch.arange(1.0, 9.0))
    assert torch.equal(z, torch.tensor([[4.0, 4.0, 1.0], [5.0, 7.0, 2.0], [7.0, 8.0, 1.0]]))


def test_other_numbers_of_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="5"):
        near_identity(torch.zeros(1, 5))


def test_bf16_and_autocast_do_not_move_pixels() -> None:
    """Coordinates in bf16 have 8 bits: at 64 pixels they would be off by a quarter of a pixel."""
    z = random_motion(4)
    exact = inverse(compose_motions(z, z))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(inverse(compose_motions(z, z)), exact)
        images = torch.rand(4, 3, 64, 64)
        assert torch.equal(warp(images, z), _outside_autocast(images, z))
    assert inverse(z.bfloat16()).dtype == torch.float32
    low = images.bfloat16()
    assert warp(low, z).dtype == torch.bfloat16
    torch.testing.assert_close(warp(low, z).float(), warp(low.float(), z), atol=4e-3, rtol=0)


def _outside_autocast(images: Tensor, z: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return warp(images, z)


def test_gradients_reach_the_motion() -> None:
    z = near_identity(torch.full((1, 8), 0.01)).double().float().requires_grad_()
    warp(blob(), z).square().sum().backward()
    assert z.grad is not None
    assert (z.grad != 0).all()
