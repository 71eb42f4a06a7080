"""Static backgrounds behind the sprites, described by a small grid so that a clip's facts reproduce them exactly."""

import numpy as np
from jaxtyping import Float64, UInt8

GRID = (
    4  # control points per axis of a texture: patches of a third of the frame, as wide as the largest sprite
)


def random_grid(rng: np.random.Generator) -> UInt8[np.ndarray, "g g 3"]:
    """Control colours of a smooth random texture, 0..255."""
    return rng.integers(0, 256, (GRID, GRID, 3), dtype=np.uint8)


def solid_grid(colour: Float64[np.ndarray, "3"]) -> UInt8[np.ndarray, "1 1 3"]:
    """The grid of a uniform background; `colour` in [0, 1]."""
    grid: UInt8[np.ndarray, "1 1 3"] = np.rint(colour * 255).astype(np.uint8)[None, None]
    return grid


def render_background(grid: UInt8[np.ndarray, "g g 3"], size: int) -> Float64[np.ndarray, "size size 3"]:
    """The background in [0, 1]: smoothstep between the colours of the grid; a 1x1 grid is uniform."""
    points = grid.shape[0]
    if points == 1:
        return np.broadcast_to(grid / 255.0, (size, size, 3))
    weights = np.zeros((size, points))
    place = (np.arange(size) + 0.5) / size * (points - 1)
    lower = np.minimum(place.astype(np.int64), points - 2)
    share = place - lower
    share = share * share * (3 - 2 * share)
    weights[np.arange(size), lower] = 1 - share
    weights[np.arange(size), lower + 1] = share
    texture: Float64[np.ndarray, "size size 3"] = np.einsum(
        "yi,xj,ijc->yxc", weights, weights, grid / 255.0, optimize=True
    )
    return texture
