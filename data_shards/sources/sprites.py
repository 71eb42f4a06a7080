"""Coloured shapes that cross the frame and occlude one another, with exact ground truth.

The data set of "Self-Supervision by Prediction for Object Discovery in Videos" (arXiv 2103.05669, section 4):
each object starts in a quadrant of its own, moves at a constant random speed to the opposite quadrant, and has a
random place in the depth order. The paper states shapes, colours and quadrants; sizes, the black background (the
colour it leaves out of 5^3) and the share of the path covered are this project's reading. Control sets take away what
a model could learn instead of grouping: random directions remove the prior of the quadrants; a textured background
removes the freedom to claim black pixels at no cost; one paint for all, or a texture each, and colour does not tell
objects apart; frames in random order, and motion does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from data_shards.clip import Clip
from data_shards.mistake import UserError
from data_shards.sources.background import random_grid, render_background, render_texture, solid_grid
from data_shards.sources.splits import clip_generator

SHAPES = ("circle", "square", "triangle")
PAINTS = ("own", "same", "texture")
TEXTURE = 5  # control points per axis of a shape's texture: patches of a quarter of its width
SUBSAMPLES = 4  # coverage is sampled at 4x4 points per pixel
PAPER_SIZE = 64  # radii and travel below are pixels of a frame of this size
PATH_SHARE = (0.6, 1.0)  # of the way from start to goal, covered within the clip
TRAVEL = (20.0, 44.0)  # length of a random path; like the 5-95 % range of the quadrant paths, and always fits

_LEVELS = np.linspace(0.0, 1.0, 5)
_CUBE = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), -1).reshape(-1, 3)
COLOURS = _CUBE[1:]  # 124, no black


@dataclass(frozen=True)
class Sprites:
    """Coloured shapes that cross the frame and occlude one another, with exact truth.

    The truth is exact: frames are rendered from the very masks, centres and colours that the clip carries.
    `facts` adds shapes, radii (pixels) and the background's grid (see `render_background`).
    """

    size: int = 64
    """Side of the frames, pixels, 8 or more; other sizes show the scene at another scale."""
    frames: int = 11
    """Length of a clip, 2 or more."""
    objects: int = 3
    """Shapes of a clip, 1 to 4, in random directions 1 to 32."""
    direction: Literal["opposite", "random"] = "opposite"
    """Where shapes go: each from a quadrant of its own to the opposite one, or from anywhere to anywhere."""
    background: Literal["black", "colour", "texture"] = "black"
    """What is behind the shapes: black, one colour that no shape of the clip has, or a smooth random texture."""
    paint: Literal["own", "same", "texture"] = "own"
    """What shapes are painted with: a colour of its own each; the same colour all shapes of a clip; or a smooth random
    texture each, which moves with its shape and has no colour of its own (such sets have no colours in their truth)."""
    shapes: tuple[str, ...] = SHAPES
    """Which shapes there are, some of circle, square and triangle."""
    radius_min: float = 8.0
    """Least size of a shape, pixels of a 64-pixel frame, above 0: the radius of a circle, half the side of a square,
    half the base and half the height of a triangle."""
    radius_max: float = 10.0
    """Largest size of a shape, likewise, radius_min to 10."""
    hard_edges: bool = False
    """Each pixel shows one thing alone, instead of mixing what covers parts of it."""
    shuffled: bool = False
    """Frames of a clip in random order: a control in which nothing moves as it moved before."""

    def __post_init__(self) -> None:
        if self.size < 8:
            raise UserError(f"size {self.size} must be at least 8 pixels")
        if self.frames < 2:
            raise UserError(f"frames {self.frames} must be at least 2")
        if self.direction not in ("opposite", "random"):
            raise UserError(f"direction {self.direction!r} must be opposite or random")
        if self.background not in ("black", "colour", "texture"):
            raise UserError(f"background {self.background!r} must be black, colour or texture")
        if self.paint not in PAINTS:
            raise UserError(f"paint {self.paint!r} must be {', '.join(PAINTS)}")
        most = 4 if self.direction == "opposite" else 32
        if not 1 <= self.objects <= most:
            raise UserError(f"objects {self.objects} must be 1 to {most} with direction={self.direction}")
        if not self.shapes or set(self.shapes) - set(SHAPES):
            raise UserError(f"shapes {', '.join(self.shapes)!r} must be some of {', '.join(SHAPES)}")
        if not 0 < self.radius_min <= self.radius_max <= 10:
            raise UserError(
                f"radius_min {self.radius_min} and radius_max {self.radius_max} must satisfy 0 < min <= max <= 10"
                " (pixels of a 64-pixel frame; larger shapes would not stay inside it)"
            )

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        """The first `count` clips of `split`, one after the other."""
        return (self.clip(split, index, seed) for index in range(count))

    def clip(self, split: str, index: int, seed: int) -> Clip:
        """Clip `index` of `split`, a function of the arguments alone."""
        rng = clip_generator(seed, split, index)
        scale = self.size / PAPER_SIZE
        radii = rng.uniform(self.radius_min, self.radius_max, self.objects) * scale
        shape_ids = rng.choice([SHAPES.index(s) for s in self.shapes], self.objects)
        ranks = rng.permutation(self.objects)
        palette = COLOURS[rng.permutation(len(COLOURS))[: self.objects + 1]]
        colours, spare = palette[:-1].astype(np.float32), palette[-1]
        if self.paint == "same":
            colours[:] = colours[0]
        paths = _opposite_paths if self.direction == "opposite" else _random_paths
        start, end = paths(rng, radii, self.size)
        velocity = ((end - start) / (self.frames - 1)).astype(np.float32)
        steps = rng.permutation(self.frames) if self.shuffled else np.arange(self.frames)
        centres = (start + steps[:, None, None] * velocity.astype(np.float64)).astype(np.float32)
        velocities = np.broadcast_to(velocity, centres.shape).copy()
        if self.shuffled:
            velocities = np.diff(centres, axis=0, append=centres[-1:])
        match self.background:
            case "black":
                grid = solid_grid(np.zeros(3))
            case "colour":
                grid = solid_grid(spare)
            case _:
                grid = random_grid(rng)
        masks = rasterise(centres, radii, shape_ids, self.size, 1 if self.hard_edges else SUBSAMPLES)
        facts: dict[str, Any] = {"background": grid.tolist()}
        paints: Float32[np.ndarray, "n c"] | Float32[np.ndarray, "n t h w c"] = colours
        if self.paint == "texture":
            textures = [random_grid(rng, TEXTURE) for _ in radii]
            facts["textures"] = [texture.tolist() for texture in textures]
            paints = _textured(textures, centres, radii, self.size)
        frames, visible_ids = composite(masks, ranks, paints, render_background(grid, self.size))
        return Clip(
            key=f"{split}-{index:06d}",
            frames=frames,
            visible_ids=visible_ids,
            amodal_masks=masks,
            depth_ranks=ranks.astype(np.int32),
            centres=centres,
            velocities=velocities,
            colours=None if self.paint == "texture" else colours,
            facts={"shapes": [SHAPES[i] for i in shape_ids], "radii": radii.tolist()} | facts,
        )


def _textured(
    textures: list[UInt8[np.ndarray, "g g 3"]],
    centres: Float32[np.ndarray, "t n 2"],
    radii: Float64[np.ndarray, "n"],
    size: int,
) -> Float32[np.ndarray, "n t size size 3"]:
    """Each shape's texture where it is in each frame."""
    paints = [
        [render_texture(grid, centre, radius, size) for centre in centres[:, i]]
        for i, (grid, radius) in enumerate(zip(textures, radii.tolist(), strict=True))
    ]
    return np.array(paints, np.float32)


def _opposite_paths(
    rng: np.random.Generator, radii: Float64[np.ndarray, "n"], size: int
) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n 2"]]:
    """First and last centres: from a quadrant of its own, part of the way to a point of the opposite quadrant.

    At the start the shape is inside the frame and its centre in the quadrant; at the goal all of it is in the quadrant.
    """
    n = len(radii)
    quadrants = rng.permutation(4)[:n]
    far = np.stack([quadrants % 2, quadrants // 2], -1).astype(bool)  # right half? lower half?
    radius = radii[:, None]
    start_reach = rng.uniform(radius, size / 2, (n, 2))  # distances from the two nearest edges of the frame
    goal_reach = rng.uniform(radius, size / 2 - radius, (n, 2))
    start = np.where(far, size - start_reach, start_reach)
    goal = np.where(far, goal_reach, size - goal_reach)
    return start, start + (goal - start) * rng.uniform(*PATH_SHARE, (n, 1))


def _random_paths(
    rng: np.random.Generator, radii: Float64[np.ndarray, "n"], size: int
) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n 2"]]:
    """First and last centres: any direction, then a start uniform among those that keep the shape in the frame."""
    angle = rng.uniform(0, 2 * np.pi, len(radii))
    length = rng.uniform(*TRAVEL, len(radii)) * size / PAPER_SIZE
    way = np.stack([np.cos(angle), np.sin(angle)], -1) * length[:, None]
    low = radii[:, None] + np.maximum(-way, 0)
    high = size - radii[:, None] - np.maximum(way, 0)
    start = rng.uniform(low, high)
    return start, start + way


def rasterise(
    centres: Float32[np.ndarray, "t n 2"],
    radii: Float64[np.ndarray, "n"],
    shape_ids: Int64[np.ndarray, "n"],
    size: int,
    samples: int,
) -> UInt8[np.ndarray, "t n size size"]:
    """Coverage of every pixel by every whole shape, 255 = full, from `samples` x `samples` points per pixel.

    Every shape is, on each row, one interval around its centre, so a row needs two numbers and a pixel the count
    of sample points between them: the same result as testing each point, at a fraction of the work.
    """
    # Only a window around each shape is looked at: a fraction of the frame.
    window = min(int(np.ceil(2 * radii.max())) + 1, size)
    origins = np.clip(np.floor(centres - radii[:, None]).astype(np.int64), 0, size - window)
    x, y = np.moveaxis(centres.astype(np.float64) - origins, -1, 0)[..., None]
    radius = radii[:, None]
    below = (
        np.arange(window * samples) + 0.5
    ) / samples - y  # (t, n, rows): how far a row is below the centre
    half = np.empty_like(below)
    for i, shape in enumerate(shape_ids):
        match SHAPES[shape]:
            case "circle":
                half[:, i] = np.sqrt(np.maximum(radii[i] ** 2 - below[:, i] ** 2, 0))
            case "square":
                half[:, i] = radii[i]
            case _:
                half[:, i] = (below[:, i] + radii[i]) / 2
    # The first sample inside and the first one beyond, counted from the left edge; none on rows off the shape.
    first = np.ceil((x - half) * samples - 0.5)
    beyond = np.where(np.abs(below) <= radius, np.floor((x + half) * samples - 0.5) + 1, first)
    column = np.arange(window, dtype=np.int16) * np.int16(samples)
    edges = np.stack([first, np.maximum(beyond, first)]).astype(np.int16)
    counts = np.clip(edges[..., None] - column, 0, samples)
    hits = (counts[1] - counts[0]).reshape(*centres.shape[:2], window, samples, window).sum(3, dtype=np.int16)
    levels = np.rint(np.arange(samples**2 + 1) * (255 / samples**2)).astype(np.uint8)
    coverage = levels[hits]
    masks = np.zeros((*centres.shape[:2], size, size), np.uint8)
    for t, i in np.ndindex(*centres.shape[:2]):
        left, top = origins[t, i]
        masks[t, i, top : top + window, left : left + window] = coverage[t, i]
    return masks


def composite(
    masks: UInt8[np.ndarray, "t n h w"],
    ranks: Int64[np.ndarray, "n"],
    paints: Float32[np.ndarray, "n c"] | Float32[np.ndarray, "n t h w c"],
    background: Float64[np.ndarray, "h w c"],
) -> tuple[UInt8[np.ndarray, "t h w c"], UInt8[np.ndarray, "t h w"]]:
    """Frames and visible ids: alpha-over from the nearest object (rank 0) to the farthest, then the background.

    An object's share of a pixel is its coverage times what the nearer ones leave over. The id is that of the
    largest share; ties go to the background (0), then to the nearer object. `paints`: a colour of each, or pictures.
    """
    t, n, h, w = masks.shape
    left_over = np.ones((t, h, w), np.float32)
    shares = np.empty((n, t, h, w), np.float32)
    largest = np.zeros((t, h, w), np.float32)
    visible_ids = np.zeros((t, h, w), np.uint8)
    for i in np.argsort(ranks):
        np.multiply(left_over, masks[:, i] * np.float32(1 / 255), out=shares[i])
        left_over -= shares[i]
        np.copyto(visible_ids, np.uint8(i + 1), where=shares[i] > largest)
        np.maximum(largest, shares[i], out=largest)
    visible_ids[left_over >= largest] = 0
    if paints.ndim == 2:
        mixed = (paints.T @ shares.reshape(n, -1)).reshape(-1, t, h, w)
    else:
        mixed = np.einsum("nthw,nthwc->cthw", shares, paints)
    mixed += left_over * background.astype(np.float32).transpose(2, 0, 1)[:, None]
    levels = np.rint(mixed * np.float32(255)).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(levels, 0, -1)), visible_ids
