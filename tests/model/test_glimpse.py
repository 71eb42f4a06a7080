"""Windows: crops against torch's sampler, and what is put back against what was cut out."""

import torch
import torch.nn.functional as F

from model.ops.glimpse import boxes, crop, paste, sizes_and_centres


def test_crop_and_paste_are_bilinear_sampling() -> None:
    images, where = torch.rand(6, 3, 20, 20), torch.randn(6, 4)
    size, centre = sizes_and_centres(where)
    theta = torch.zeros(6, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = size[:, 0], size[:, 1], centre
    grid = F.affine_grid(theta, [6, 3, 9, 9], align_corners=True)
    expected = F.grid_sample(images, grid, align_corners=True)
    found = crop(images, where, 9)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    back = torch.zeros(6, 2, 3)
    back[:, 0, 0], back[:, 1, 1], back[:, :, 2] = 1 / size[:, 0], 1 / size[:, 1], -centre / size
    grid = F.affine_grid(back, [6, 3, 20, 20], align_corners=True)
    expected = F.grid_sample(found, grid, align_corners=True)
    torch.testing.assert_close(paste(found, where, 20), expected, atol=1e-4, rtol=1e-3)


def test_what_is_put_back_is_what_was_cut_out() -> None:
    """For a window as fine as the frame or finer, of something smooth, away from its edge."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 40), torch.linspace(-1, 1, 40), indexing="ij")
    image = torch.exp(-((x - 0.1).square() + (y + 0.2).square()) / 0.05)[None, None]
    where = torch.tensor([[0.2, 0.1, 0.1, -0.2]])
    restored = paste(crop(image, where, 40), where, 40)
    torch.testing.assert_close(restored, image, atol=0.03, rtol=0.0)


def test_a_box_frames_its_window() -> None:
    where = torch.tensor([[-1.0, 0.5, 0.2, -0.4]])
    shown = paste(torch.ones(1, 1, 8, 8), where, 50)[0, 0] > 0.999
    rows, columns = shown.any(1).nonzero()[:, 0], shown.any(0).nonzero()[:, 0]
    x0, y0, x1, y1 = boxes(where, 50)[0].tolist()
    assert x0 <= int(columns[0]) + 0.5 < x0 + 1
    assert x1 - 1 < int(columns[-1]) + 0.5 <= x1
    assert y0 <= int(rows[0]) + 0.5 < y0 + 1
    assert y1 - 1 < int(rows[-1]) + 0.5 <= y1


def test_nothing_vanishes_or_explodes_at_the_ends() -> None:
    where = torch.tensor([[-60.0, -60.0, 9.0, -9.0], [60.0, 60.0, 0.0, 0.0]], requires_grad=True)
    frame = paste(crop(torch.rand(2, 1, 12, 12), where, 5), where, 12)
    frame.sum().backward()
    assert frame.isfinite().all()
    assert where.grad is not None
    assert where.grad.isfinite().all()
