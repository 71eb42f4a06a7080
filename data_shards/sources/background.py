"""What sprites and the background behind them are painted with: small grids of colours, smooth in between.

A clip's facts carry the grids, and reproduce its frames exactly.
"""

import numpy as np
from jaxtyping import Float32, Float64, UInt8

GRID = (
    4  # control points per axis of a texture: patches of a third of the frame, as wide as the largest sprite
)


def random_grid(rng: np.random.Generator, points: int = GRID) -> UInt8[np.ndarray, "g g 3"]:
    """Control colours of a smooth random texture, 0..255."""
    return rng.integers(0, 256, (points, points, 3), dtype=np.uint8)


def solid_grid(colour: Float64[np.ndarray, "3"]) -> UInt8[np.ndarray, "1 1 3"]:
    """The grid of a uniform background; `colour` in [0, 1]."""
    grid: UInt8[np.ndarray, "1 1 3"] = np.rint(colour * 255).astype(np.uint8)[None, None]
    return grid


def render_background(grid: UInt8[np.ndarray, "g g 3"], size: int) -> Float64[np.ndarray, "size size 3"]:
    """The background in [0, 1]: smoothstep between the colours of the grid; a 1x1 grid is uniform."""
    if grid.shape[0] == 1:
        return np.broadcast_to(grid / 255.0, (size, size, 3))
    across = (np.arange(size) + 0.5) / size
    return _render(grid, across, across)


def render_texture(
    grid: UInt8[np.ndarray, "g g 3"],
    centre: Float32[np.ndarray, "2"],
    radius: float,
    size: int,
) -> Float64[np.ndarray, "size size 3"]:
    """The same over the square around a sprite, whose edges go on beyond it; moves with `centre`, in pixels."""
    x, y = (((np.arange(size) + 0.5 - middle) / (2 * radius) + 0.5).clip(0, 1) for middle in centre.tolist())
    return _render(grid, y, x)


def _render(
    grid: UInt8[np.ndarray, "g g 3"], y: Float64[np.ndarray, "h"], x: Float64[np.ndarray, "w"]
) -> Float64[np.ndarray, "h w 3"]:
    """Colours at rows `y` and columns `x`, shares of the grid in [0, 1]."""
    points = grid.shape[0]

    def weights(place: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n g"]:
        place = place * (points - 1)
        lower = np.minimum(place.astype(np.int64), points - 2)
        share = place - lower
        share = share * share * (3 - 2 * share)
        found = np.zeros((len(place), points))
        found[np.arange(len(place)), lower] = 1 - share
        found[np.arange(len(place)), lower + 1] = share
        return found

    picture: Float64[np.ndarray, "h w 3"] = np.einsum(
        "yi,xj,ijc->yxc", weights(y), weights(x), grid / 255.0, optimize=True
    )
    return picture
