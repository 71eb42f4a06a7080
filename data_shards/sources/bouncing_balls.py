"""Bouncing balls: discs of two sizes and weights that hit the walls and one another, with their truth.

The physics is that of Sutskever's generator as "Relational Neural Expectation Maximization" (arXiv 1802.10353) and
PROVIDE (UAI 2021) use it, by the statistics of the released videos: a box of 10 units, two half
steps a frame, specular walls, elastic collisions along the line of centres, no friction and no spin. A collision is
looked for after each half step, so that balls enter one another and the walls a little.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from data_shards.clip import Clip
from data_shards.mistake import UserError
from data_shards.sources.balls_file import Balls, read_balls
from data_shards.sources.splits import clip_generator, split_number
from data_shards.sources.sprites import PAPER_SIZE, rasterise

BOX = 10.0  # side of the box, in the generator's units: the frame
FIRST_PLACES = 2.0, 10.0  # where centres are drawn, along each axis, where a ball is then in the box
HALF_STEPS = 2  # of the motion, between two frames
DRAWS, TRIES = 256, 200  # of first places: so many at a time, so often
# As they lie on disk in PROVIDE's sets (red and blue are swapped when they are written).
PALETTE = np.array(
    [
        (227, 206, 166),
        (180, 120, 31),
        (138, 223, 178),
        (44, 160, 51),
        (153, 154, 251),
        (28, 26, 227),
        (111, 191, 253),
        (0, 127, 255),
    ],
    np.uint8,
)


@dataclass(frozen=True)
class BouncingBalls:
    """Bouncing balls: discs of two sizes and weights that hit the walls and one another, with their truth.

    As they are, the options make the set of four balls. Of six to eight: --fewest 6 --objects 8. With the curtain:
    --fewest 3 --objects 3 --radii 1.2 --masses 1 --speed 0.5 --curtain 28. Lengths are in units of which 10 are the
    side of the frame.

    The truth is of what is drawn: ids and masks of the balls at whole pixels, places, displacements to the next frame,
    boxes, which kind each ball is, and the pixels of balls that hit one another on the way to the next frame. Balls in
    one another: the first is in front. `facts` has radii (pixels), masses, and the curtain (x, y, side). Of a released
    file (`sequences`) it is ids and the pixels of balls in contact.
    """

    sequences: str | None = None
    """A released file, such as balls4mass64.h5, a path or URL; by default clips are drawn."""
    size: int = PAPER_SIZE
    """Side of the frames, pixels, 8 or more; other sizes show the scene at another scale."""
    frames: int = 51
    """Length of a clip, 2 or more."""
    fewest: int = 4
    """Least number of balls in a clip, 1 to objects; each number up to objects is as frequent."""
    objects: int = 4
    """Largest number of balls in a clip, 1 to 32."""
    radii: tuple[float, ...] = (0.8, 1.0)
    """Of each kind of ball, above 0; each kind is as frequent."""
    masses: tuple[float, ...] = (1.0, 6.0)
    """Of each kind of ball, above 0."""
    speed: float = 1 / 3
    """Root of the sum of the squared speeds of all balls at first, per frame, 0 or more."""
    collide: bool = True
    """Balls bounce off one another; else they pass through each other."""
    paint: Literal["binary", "colour"] = "binary"
    """White balls on black in one channel; or each ball in the colour of its number, in three."""
    colours: int = 8
    """How many colours there are, 1 to 8; more balls begin again with the first."""
    colouring: Literal["number", "drawn"] = "number"
    """Which colour a ball has: number, its own in all clips, as released; or drawn, departure: anew for each clip."""
    curtain: float = 0.0
    """Side of a black square that hides what is behind it, at a random place of each clip, pixels of a 64-pixel
    frame, 0 (none) to 64."""

    def __post_init__(self) -> None:
        if self.size < 8:
            raise UserError(f"size {self.size} must be at least 8 pixels")
        if self.frames < 2:
            raise UserError(f"frames {self.frames} must be at least 2")
        if not 1 <= self.objects <= 32:
            raise UserError(f"objects {self.objects} must be 1 to 32")
        if not 1 <= self.fewest <= self.objects:
            raise UserError(f"fewest {self.fewest} must be 1 to objects, which is {self.objects}")
        if not self.radii or len(self.radii) != len(self.masses) or min(*self.radii, *self.masses) <= 0:
            raise UserError(
                f"radii {self.radii} and masses {self.masses} must be as many, one of each kind of ball, above 0"
            )
        if max(self.radii) > BOX / 2:
            raise UserError(f"radii {self.radii} must be at most {BOX / 2:g}: half the side of the frame")
        if self.speed < 0:
            raise UserError(f"speed {self.speed} must be at least 0")
        if self.paint not in ("binary", "colour"):
            raise UserError(f"paint {self.paint!r} must be binary or colour")
        if not 1 <= self.colours <= len(PALETTE):
            raise UserError(f"colours {self.colours} must be 1 to {len(PALETTE)}")
        if self.colouring not in ("number", "drawn"):
            raise UserError(f"colouring {self.colouring!r} must be number or drawn")
        if not 0 <= self.curtain <= PAPER_SIZE:
            raise UserError(f"curtain {self.curtain} must be 0 to {PAPER_SIZE} pixels of a 64-pixel frame")

    def parameters(self) -> dict[str, object]:
        """Those with an effect: `sequences` are of frames that are drawn already."""
        shown = {"sequences", "size", "frames", "paint", "colours"}
        return {k: value for k, value in asdict(self).items() if self.sequences is None or k in shown}

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        """The first `count` clips of `split`; of `sequences`, as many as there are."""
        split_number(split)
        if self.sequences is None:
            return (self.clip(split, index, seed) for index in range(count))
        stored = read_balls(self.sequences, split, count, self.frames, self.size)
        return (self._stored(f"{split}-{index:06d}", balls) for index, balls in enumerate(stored))

    def _stored(self, key: str, balls: Balls) -> Clip:
        """White where the file is lit, or each ball in the colour of its number."""
        paints = self._paints(int(balls.ids.max()))
        frames = paints[balls.ids] if self.paint == "colour" else 255 * balls.lit[..., None]
        return Clip(key, frames, visible_ids=balls.ids, collisions=balls.collisions)

    def clip(self, split: str, index: int, seed: int) -> Clip:
        """Clip `index` of `split`, a function of the arguments alone."""
        rng = clip_generator(seed, split, index)
        number = int(rng.integers(self.fewest, self.objects + 1))
        kinds = rng.integers(0, len(self.radii), number)
        radii, masses = np.array(self.radii)[kinds], np.array(self.masses)[kinds]
        start = first_places(rng, radii, self.collide)
        way = rng.normal(size=start.shape)
        way *= self.speed / np.linalg.norm(way)
        # One frame more than is shown, for the last displacement.
        places, _, hits = simulate(start, way, radii, masses, self.frames + 1, self.collide)
        scale = self.size / BOX
        centres = (places * scale).astype(np.float32)
        shown, radii = centres[:-1], radii * scale
        masks = rasterise(shown, radii, np.zeros(number, np.int64), self.size, 1)
        ids = np.zeros((self.frames, self.size, self.size), np.uint8)
        for i in reversed(range(number)):
            ids[masks[:, i] > 0] = i + 1
        corner = self._curtain(rng, ids)
        drawn = self.paint == "colour" and self.colouring == "drawn"
        paints = self._paints(number, rng.permutation(self.colours) if drawn else None)
        struck = np.pad(hits[:-1], ((0, 0), (1, 0))).astype(np.uint8)
        return Clip(
            key=f"{split}-{index:06d}",
            frames=paints[ids],
            visible_ids=ids,
            amodal_masks=masks,
            depth_ranks=np.arange(number, dtype=np.int32),
            centres=shown,
            velocities=np.diff(centres, axis=0),
            colours=(paints[1:] / 255).astype(np.float32),
            boxes=np.concatenate([shown - radii[:, None], shown + radii[:, None]], -1).astype(np.float32),
            categories=kinds.astype(np.int32),
            collisions=struck[np.arange(self.frames)[:, None, None], ids],
            facts={"radii": radii.tolist(), "masses": masses.tolist()} | corner,
        )

    def _paints(self, number: int, order: Int64[np.ndarray, "o"] | None = None) -> UInt8[np.ndarray, "p c"]:
        """Of what is behind the balls, black, and of each ball; `order`: of the colours."""
        if self.paint == "binary":
            return np.array([[0]] + [[255]] * number, np.uint8)
        black = np.zeros((1, 3), np.uint8)
        which = np.arange(number) % self.colours
        paints: UInt8[np.ndarray, "p 3"] = np.concatenate(
            [black, PALETTE[which if order is None else order[which]]]
        )
        return paints

    def _curtain(self, rng: np.random.Generator, ids: UInt8[np.ndarray, "t h w"]) -> dict[str, object]:
        """Takes what it hides out of `ids`; the fact of where it is."""
        side = round(self.curtain * self.size / PAPER_SIZE)
        if not side:
            return {}
        x, y = rng.integers(0, self.size - side + 1, 2).tolist()
        ids[:, y : y + side, x : x + side] = 0
        return {"curtain": [x, y, side]}


def first_places(
    rng: np.random.Generator, radii: Float64[np.ndarray, "n"], apart: bool = True
) -> Float64[np.ndarray, "n 2"]:
    """Centres in the box, uniform among those at which no ball is beyond a wall or (`apart`) in another.

    Raises:
        UserError: so many balls do not fit, or too seldom.
    """
    n = len(radii)
    reach = radii[:, None] + radii if apart else np.zeros((n, n))
    pairs = np.triu_indices(n, 1)
    low, high = np.maximum(radii, FIRST_PLACES[0])[:, None], np.minimum(BOX - radii, FIRST_PLACES[1])[:, None]
    for _ in range(TRIES):
        places = rng.uniform(low, high, (DRAWS, n, 2))
        way = places[:, pairs[0]] - places[:, pairs[1]]
        fit = ((way**2).sum(-1) >= reach[pairs] ** 2).all(1)
        if fit.any():
            found: Float64[np.ndarray, "n 2"] = places[fit.argmax()]
            return found
    raise UserError(
        f"objects {n}: so many balls of radii {radii.tolist()} do not fit side by side; take fewer"
    )


def simulate(
    start: Float64[np.ndarray, "n 2"],
    way: Float64[np.ndarray, "n 2"],
    radii: Float64[np.ndarray, "n"],
    masses: Float64[np.ndarray, "n"],
    frames: int,
    collide: bool = True,
) -> tuple[Float64[np.ndarray, "t n 2"], Float64[np.ndarray, "t n 2"], Bool[np.ndarray, "t n"]]:
    """Places and velocities (units, and units per frame) at each frame, and who hits a ball before the next one.

    A wall sets the sign of a velocity and leaves the place; pairs are looked at in the order of their numbers, each
    with what the pairs before have made of its velocities.
    """
    place, way = start.copy(), way.copy()
    places, ways = np.empty((frames, *place.shape)), np.empty((frames, *place.shape))
    hits = np.zeros((frames, len(place)), bool)
    radius = radii[:, None]
    # Each pair once, by its larger number; of none nothing is looked for.
    reach = np.tril(radius + radii, -1) * collide
    for t in range(frames):
        places[t], ways[t] = place, way
        for _ in range(HALF_STEPS):
            place = place + way / HALF_STEPS
            way = np.where(place < radius, np.abs(way), np.where(place > BOX - radius, -np.abs(way), way))
            lines = place[:, None] - place
            touching = np.argwhere((lines**2).sum(-1) < reach**2)
            for i, j in touching:
                bounce_off(place, way, masses, i, j)
            hits[t, touching.ravel()] = True
    return places, ways, hits


def bounce_off(
    place: Float64[np.ndarray, "n 2"],
    way: Float64[np.ndarray, "n 2"],
    masses: Float64[np.ndarray, "n"],
    i: int | np.integer,
    j: int | np.integer,
) -> None:
    """Changes the velocities of balls i and j along the line of their centres: energy and momentum stay."""
    line = place[i] - place[j]
    line = line / max(float(np.linalg.norm(line)), 1e-12)
    first, second = line @ way[i], line @ way[j]
    after = (2 * masses[i] * first + second * (masses[j] - masses[i])) / (masses[i] + masses[j])
    way[i] += line * (after + second - 2 * first)
    way[j] += line * (after - second)
