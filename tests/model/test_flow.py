"""Warping by dense flow: direction, axes, units and precision, against indexing and the planar warp."""

import pytest
import torch

from model.ops.flow import enlarge, warp_by_flow
from model.ops.spatial_transformer import translation, warp


def constant(x: float, y: float, height: int = 6, width: int = 10) -> torch.Tensor:
    return torch.tensor([float(x), float(y)]).view(1, 2, 1, 1).expand(1, 2, height, width)


@pytest.mark.parametrize(("x", "y"), [(3, 0), (0, 2), (-1, 1), (-4, -3)])
def test_each_pixel_comes_from_where_its_vector_points(x: int, y: int) -> None:
    image = torch.rand(1, 3, 6, 10)
    moved = warp_by_flow(image, constant(x, y))
    for row in range(6):
        for column in range(10):
            inside = 0 <= row + y < 6 and 0 <= column + x < 10
            expected = image[0, :, row + y, column + x] if inside else torch.zeros(3)
            torch.testing.assert_close(moved[0, :, row, column], expected, atol=1e-5, rtol=0)


def test_vectors_differ_from_pixel_to_pixel() -> None:
    """A vertical mirror image: a vector of its own for each row."""
    image = torch.rand(2, 1, 7, 5)
    flow = torch.zeros(2, 2, 7, 5)
    flow[:, 1] = (6 - 2 * torch.arange(7.0))[:, None]
    torch.testing.assert_close(warp_by_flow(image, flow), image.flip(-2), atol=1e-5, rtol=0)


def test_fractions_of_pixels_interpolate_and_agree_with_the_warp() -> None:
    image = torch.rand(1, 2, 6, 10)
    sampling = translation(torch.tensor([[1.3 * 2 / 10, -0.6 * 2 / 6]]))
    torch.testing.assert_close(warp_by_flow(image, constant(1.3, -0.6)), warp(image, sampling))


def test_leading_axes_are_kept() -> None:
    images, flow = torch.rand(2, 3, 4, 6, 10), torch.randn(2, 3, 2, 6, 10)
    together = warp_by_flow(images, flow)
    assert together.shape == images.shape
    torch.testing.assert_close(together[1, 2], warp_by_flow(images[1, 2], flow[1, 2]))


def test_autocast_and_half_precision_frames_do_not_move_pixels() -> None:
    images, flow = torch.rand(1, 2, 64, 64), 3 * torch.randn(1, 2, 64, 64)
    exact = warp_by_flow(images.bfloat16().float(), flow)
    with torch.autocast("cpu", torch.bfloat16):
        moved = warp_by_flow(images.bfloat16(), flow)
    assert moved.dtype == torch.bfloat16
    torch.testing.assert_close(moved.float(), exact, atol=4e-3, rtol=0)  # rounded once, to 8 bits


def test_a_larger_frame_has_longer_vectors() -> None:
    """Moving and doubling commute, for whole pixels."""
    image, flow = torch.rand(1, 3, 6, 10), torch.randint(-2, 3, (1, 2, 6, 10)).float()
    double = torch.nn.Upsample(scale_factor=2)
    torch.testing.assert_close(
        warp_by_flow(double(image), enlarge(flow, 2)), double(warp_by_flow(image, flow)), atol=1e-5, rtol=0
    )


def test_gradients_reach_the_flow() -> None:
    images = torch.rand(1, 1, 4, 5, dtype=torch.float64).cumsum(-1)
    flow = constant(0.3, 0.2, 4, 5).double().requires_grad_()
    warp_by_flow(images, flow).sum().backward()
    assert flow.grad is not None
    # Content grows to the right: sampling further right makes interior pixels brighter.
    assert (flow.grad[0, 0, :3, :4] > 0).all()
