"""Planar motion of images: 3x3 homographies, their products and inverses, and bilinear warping.

Coordinates are normalised: x to the right, y down, [-1, 1] spans the frame from edge to edge (align_corners=False),
so one pixel is 2 / width. A *forward* matrix z takes a point of frame t to where it is in frame t + 1,
p' ~ z p (eq. 8 of arXiv 2103.05669). Sampling needs the opposite: each output pixel asks where it comes from, which
is inv(z) (eq. 9 evaluates the output at p' from the input at p). `warp` takes the sampling matrix and says so, since
callers often have it without inverting: moving backwards in time samples with z itself.

Everything here is elementwise arithmetic in float32, also under autocast: matrix products in half precision would
move pixels visibly.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Points on or behind the horizon of a projective motion would divide by zero or turn up on the other side.
NEAREST = 1e-3
PARAMETERS = {"translation": 2, "affine": 6, "projective": 8}  # numbers that a motion of each kind has


def identity(*shape: int, like: Tensor) -> Float[Tensor, "... 3 3"]:
    """Identity matrices of `shape` + (3, 3) in float32 on the device of `like`."""
    return _unity(like.device).expand(*shape, 3, 3)


def translation(offset: Float[Tensor, "... 2"]) -> Float[Tensor, "... 3 3"]:
    """The matrices that move points by `offset` (x, y), in normalised units."""
    offset = offset.float()
    return identity(*offset.shape[:-1], like=offset) + F.pad(offset[..., None], (2, 0, 0, 1))


def near_identity(residual: Float[Tensor, "... p"]) -> Float[Tensor, "... 3 3"]:
    """I + residual: the matrices that `p` numbers stand for.

    p = 2: translation (x, y); p = 6: translation, then the 2x2 part row by row; p = 8: these, then the first
    two entries of the last row. The bottom right entry is always 1.

    Raises:
        ValueError: another p.
    """
    numbers = residual.shape[-1]
    if numbers not in PARAMETERS.values():
        raise ValueError(f"homographies have {sorted(PARAMETERS.values())} parameters, got {numbers}")
    x, y, a, b, c, d, u, v, zero = F.pad(residual.float(), (0, 9 - numbers)).unbind(-1)
    entries = torch.stack([a, b, x, c, d, y, u, v, zero], -1).view(*x.shape, 3, 3)
    return identity(like=residual) + entries


def compose_motions(
    later: Float[Tensor, "... 3 3"], earlier: Float[Tensor, "... 3 3"]
) -> Float[Tensor, "... 3 3"]:
    """The matrix product later @ earlier: first `earlier` moves the points, then `later`."""
    return (later.float()[..., :, :, None] * earlier.float()[..., None, :, :]).sum(-2)


def compose_over_time(motion: Float[Tensor, "*b t k 3 3"]) -> Float[Tensor, "*b k 3 3"]:
    """z_t ... z_2 z_1: the motion through all steps of `motion` (eq. 21); the identity where t = 0."""
    total = identity(*motion.shape[:-4], motion.shape[-3], like=motion)
    for z in motion.unbind(-4):
        total = compose_motions(z, total)
    return total


def inverse(z: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 3 3"]:
    """The inverse matrices, by cross products (the adjugate over the determinant)."""
    z = z.float()
    # Of each row: the next one times the one after.
    cofactors: Tensor = torch.linalg.cross(z.roll(-1, -2), z.roll(-2, -2))
    determinant = (z[..., 0, :] * cofactors[..., 0, :]).sum(-1)
    return cofactors.mT / determinant[..., None, None]


def move_points(z: Float[Tensor, "... 3 3"], points: Float[Tensor, "... 2"]) -> Float[Tensor, "... 2"]:
    """Where `points` (x, y) are after `z`, in float32 or better; leading axes broadcast."""
    z, points = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (z, points))
    moved = (z[..., :, :2] * points[..., None, :]).sum(-1) + z[..., :, 2]
    return moved[..., :2] / moved[..., 2:].clamp(min=NEAREST)


def moved_centres(
    z: Float[Tensor, "n 3 3"], height: int, width: int
) -> Float[Tensor, "n {height} {width} 2"]:
    """`move_points` of the centres of the pixels: columns and rows apart, which are far fewer than pixels."""
    x, y = centres(width, like=z), centres(height, like=z)
    moved = (z[:, :, :1] * x)[:, :, None] + (z[:, :, 1:2] * y + z[:, :, 2:])[..., None]
    points, distance = moved.split([2, 1], 1)
    projected: Tensor = points / distance.clamp(min=NEAREST)
    return projected.movedim(1, -1)


def centres(count: int, like: Tensor) -> Float[Tensor, " {count}"]:
    """Coordinates of the centres of `count` pixels, along one axis."""
    return _centres(count, like.device)


def pixel_centres(height: int, width: int, like: Tensor) -> Float[Tensor, "{height} {width} 2"]:
    """Coordinates (x, y) of the centres of the pixels."""
    return torch.stack(torch.meshgrid(centres(width, like), centres(height, like), indexing="xy"), -1)


def sample(
    images: Float[Tensor, "n c h w"], points: Float[Tensor, "n h2 w2 2"]
) -> Float[Tensor, "n c h2 w2"]:
    """Bilinear sampling at `points` (x, y), zeros outside the frame. The result has the dtype of `images`."""
    sampled = F.grid_sample(
        images.float(), points.float(), mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return sampled.to(images.dtype)


def warp(images: Float[Tensor, "*n c h w"], sampling: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n c h w"]:
    """Bilinear sampling: output(p) = input(sampling p), zeros outside the frame.

    To move content by a forward motion z, sample with `inverse(z)`. The result has the dtype of `images`.
    """
    flat = images.reshape(-1, *images.shape[-3:])
    points = moved_centres(sampling.reshape(-1, 3, 3).float(), *images.shape[-2:])
    return sample(flat, points).reshape(images.shape)


def centres_of_mass(masks: Float[Tensor, "*b h w"], faintest: float = 1e-3) -> Float[Tensor, "*b 2"]:
    """Centres (x, y), normalised; `faintest` of the frame is added to the area, which draws empty masks to 0."""
    height, width = masks.shape[-2:]
    columns, rows = masks.sum(-2), masks.sum(-1)
    area = rows.sum(-1) + faintest * height * width
    moments = (columns * centres(width, like=masks)).sum(-1), (rows * centres(height, like=masks)).sum(-1)
    return torch.stack(moments, -1) / area[..., None]


# Made once: asked for some eighty times a step, they would cost a hundredth of it.
@lru_cache
def _unity(device: torch.device) -> Float[Tensor, "3 3"]:
    return torch.eye(3, device=device)


@lru_cache
def _centres(count: int, device: torch.device) -> Float[Tensor, " {count}"]:
    return torch.linspace(1 / count - 1, 1 - 1 / count, count, device=device)
