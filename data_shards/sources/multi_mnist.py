"""Moving multi-MNIST: no, one or two digits that speed up, slow down and leave the frame, with their truth.

The data set of "Sequential Attend, Infer, Repeat" (Kosiorek et al., 2018, section 4.1), by the rules of its released
generator: digits cut to their strokes, placed without overlap of their boxes, moved by a velocity and an acceleration
of their own, overlaps by maximum. A digit's top left corner stays in [0, size], so digits leave through the right and
the lower edge alone, and come back. All digits are there in all frames, also where none of them can be seen: a count
by what a frame shows is right in 97.6 % of frames at most.

Departures: val and test have digits of their own, and test's are MNIST's test images, as the paper has it (the
release tests on what is val here). `come_and_go` is the paper's harder variant (appendix F), whose generator was not
released: the frames in which a digit is there are drawn uniformly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from data_shards.clip import Clip
from data_shards.mistake import UserError
from data_shards.sources.idx import read_images, read_labels
from data_shards.sources.moving_mnist import EMBEDDED_DIGITS, HALF, scaled, scikit_learn_digits
from data_shards.sources.splits import clip_generator, split_number

PAPER_SIZE = 50  # pixels of the frame that lengths and speeds are given for
HELD_OUT = 5000  # of MNIST's training images, the first are for val
TRIES = 5  # places that the digits of a clip are tried at before others are drawn
REDRAWS = 200  # of a clip's digits, after which they are taken not to fit
JITTER = 0.01  # standard deviation of the change of acceleration, pixels per frame^3


@dataclass(frozen=True)
class MultiMnist:
    """Moving multi-MNIST: no, one or two digits that speed up, slow down and leave the frame, with their truth.

    Of MNIST's files the first 5000 training images are for val, the test images are for test; of the embedded digits
    a sixth each. Lengths and speeds are in pixels of a frame of 50; other sizes show the scene at another scale.

    The truth is of what is drawn, at whole pixels: boxes of the strokes of whole digits, amodal masks of the parts
    inside the frame, the share of each digit's ink that these are, and which digit it is. Where digits overlap, a
    pixel is the brighter one's, of equals the first's. `facts` has the places of the digits in their file.
    """

    digits: str = EMBEDDED_DIGITS
    """Folder of MNIST's IDX files, a path or URL; scikit-learn stands for the 1797 digits of 8x8 pixels that come with
    it."""
    size: int = PAPER_SIZE
    """Side of the frames, pixels, 16 or more."""
    frames: int = 10
    """Length of a clip, 1 or more."""
    fewest: int = 0
    """Least number of digits in a clip, 0 to objects; each number up to objects is as frequent."""
    objects: int = 2
    """Largest number of digits in a clip, 1 to 8."""
    digit: float = 28.0
    """Side of a digit's image, of which its strokes fill 20 / 28, above 0."""
    speed: float = 10.0
    """Largest speed along each axis, per frame, 0 or more."""
    acceleration: float = 3.0
    """Largest change of it, likewise; 0 keeps speeds but for the walls."""
    leave: bool = True
    """Digits leave through the right and the lower edge; else they turn where they touch one."""
    come_and_go: bool = False
    """The harder variant: each digit is there from a random frame to a random later one, else in all frames."""

    def __post_init__(self) -> None:
        if self.size < 16:
            raise UserError(f"size {self.size} must be at least 16 pixels")
        if self.frames < 1:
            raise UserError(f"frames {self.frames} must be at least 1")
        if not 1 <= self.objects <= 8:
            raise UserError(f"objects {self.objects} must be 1 to 8")
        if not 0 <= self.fewest <= self.objects:
            raise UserError(f"fewest {self.fewest} must be 0 to objects, which is {self.objects}")
        if not 4 <= self.digit <= PAPER_SIZE:
            raise UserError(f"digit {self.digit} must be 4 to {PAPER_SIZE} pixels of a frame of {PAPER_SIZE}")
        if self.speed < 0 or self.acceleration < 0:
            raise UserError(
                f"speed {self.speed} and acceleration {self.acceleration} must be at least 0 pixels per frame"
            )

    # Cached, not a field: it is what the parameters lead to.
    @cached_property
    def _digits(self) -> dict[str, tuple[int, UInt8[np.ndarray, "n side side"], UInt8[np.ndarray, "n"]]]:
        """By split: the place of its first digit in the file, its digits, and which they are."""
        if self.digits == EMBEDDED_DIGITS:
            images, labels = scikit_learn_digits(), scikit_learn_labels()
            val, test = len(images) * 2 // 3, len(images) * 5 // 6
            return {
                "train": (0, images[:val], labels[:val]),
                "val": (val, images[val:test], labels[val:test]),
                "test": (test, images[test:], labels[test:]),
            }
        images = read_images(self.digits, "train-images-idx3-ubyte")
        labels = read_labels(self.digits, "train-labels-idx1-ubyte")
        # A small file of another kind is divided too.
        held_out = min(HELD_OUT, len(images) // 6)
        parts = {
            "train": (held_out, images[held_out:], labels[held_out:]),
            "val": (0, images[:held_out], labels[:held_out]),
            "test": (
                0,
                read_images(self.digits, "t10k-images-idx3-ubyte"),
                read_labels(self.digits, "t10k-labels-idx1-ubyte"),
            ),
        }
        for split, (_, those, kinds) in parts.items():
            if len(those) < self.objects or len(those) != len(kinds):
                raise UserError(
                    f"digits {self.digits}: {len(those)} images and {len(kinds)} labels for {split}, need as many,"
                    f" and at least objects, which is {self.objects}"
                )
        return parts

    def statistics(self) -> dict[str, object]:
        """How many digits each split draws from."""
        return {"digits": {split: len(part[1]) for split, part in self._digits.items()}}

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        """The first `count` clips of `split`."""
        split_number(split)
        return (self.clip(split, index, seed) for index in range(count))

    def clip(self, split: str, index: int, seed: int) -> Clip:
        """Clip `index` of `split`, a function of the arguments alone."""
        rng = clip_generator(seed, split, index)
        number = int(rng.integers(self.fewest, self.objects + 1))
        first, images, labels = self._digits[split]
        chosen, strokes, start = self._placed(rng, images, number)
        sides = np.array([ink.shape[::-1] for ink in strokes], np.float64).reshape(number, 2)
        # One frame more than is shown, for the last velocity.
        corners = np.rint(self._trajectory(rng, start, sides)).astype(np.int64)
        exists = self._lifetimes(rng, number)
        masks, inside = draw_within(strokes, corners[:-1], self.size)
        masks *= exists[..., None, None].astype(np.uint8)
        places = corners[:-1].astype(np.float32)
        boxes = np.concatenate([places, places + sides.astype(np.float32)], -1)
        there = exists[..., None].astype(np.float32)
        ground = np.full((self.frames, 1, self.size, self.size), HALF - 1, np.uint8)
        return Clip(
            key=f"{split}-{index:06d}",
            frames=masks.max(1, initial=0)[..., None],
            visible_ids=np.concatenate([ground, masks], 1).argmax(1).astype(np.uint8),
            amodal_masks=masks,
            centres=(places + sides.astype(np.float32) / 2) * there,
            velocities=np.diff(corners, axis=0).astype(np.float32) * there,
            boxes=boxes * there,
            exists=exists,
            visibility=inside * exists.astype(np.float32),
            categories=labels[chosen].astype(np.int32),
            facts={"digits": (first + chosen).tolist()},
        )

    def _placed(
        self, rng: np.random.Generator, images: UInt8[np.ndarray, "n side side"], number: int
    ) -> tuple[Int64[np.ndarray, "k"], list[UInt8[np.ndarray, "_ _"]], Float64[np.ndarray, "k 2"]]:
        """Which digits, their strokes, and top left corners (x, y) at which no two boxes overlap."""
        side = round(self.digit * self.size / PAPER_SIZE)
        for _ in range(REDRAWS):
            chosen = rng.choice(len(images), number, replace=False).astype(np.int64)
            strokes = [ink(scaled(images[i], side)) for i in chosen]
            corners = apart(rng, strokes, self.size)
            if corners is not None:
                return chosen, strokes, corners
        raise UserError(
            f"objects {self.objects}: so many digits of {self.digit} pixels do not fit side by side; take fewer"
        )

    def _trajectory(
        self, rng: np.random.Generator, start: Float64[np.ndarray, "n 2"], sides: Float64[np.ndarray, "n 2"]
    ) -> Float64[np.ndarray, "frames n 2"]:
        """Top left corners (x, y) in pixels, those of the first frame at `start`, one frame more than is shown."""
        scale = self.size / PAPER_SIZE
        low = np.zeros_like(start)
        high = np.full_like(start, self.size) if self.leave else np.maximum(self.size - sides, 0)
        fastest, change = self.speed * scale, self.acceleration * scale
        jitter = JITTER * scale if self.acceleration else 0.0
        state = (
            rng.uniform(low, high),
            rng.uniform(-fastest, fastest, start.shape),
            rng.uniform(-change, change, start.shape),
        )
        places = [start]
        for t in range(self.frames + 1):
            state = step(rng, state, (high, fastest, change), jitter)
            if t == 0:  # a step is taken before the place of the first frame is known
                state = (start, *state[1:])
            else:
                places.append(state[0])
        return np.stack(places)

    def _lifetimes(self, rng: np.random.Generator, number: int) -> np.ndarray:
        """1 where each digit is there, (frames, digits), int32."""
        if not self.come_and_go:
            return np.ones((self.frames, number), np.int32)
        born = rng.integers(0, self.frames, number)
        gone = rng.integers(born + 1, self.frames + 1)
        now = np.arange(self.frames)[:, None]
        return ((born <= now) & (now < gone)).astype(np.int32)


State = tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n 2"]]


def step(
    rng: np.random.Generator,
    state: State,
    limits: tuple[Float64[np.ndarray, "n 2"], float, float],
    jitter: float,
) -> State:
    """Place, velocity and acceleration a frame later, as the released generator has them, axis by axis.

    Beyond 0 or its limit a place is reflected, and velocity and acceleration change their signs; then all three are
    cut to their limits.
    """
    place, velocity, acceleration = state
    high, fastest, change = limits
    place = place + velocity
    velocity = velocity + acceleration
    acceleration = acceleration + rng.normal(0.0, 1.0, place.shape) * jitter
    beyond = (place < 0) | (place > high)
    place = np.where(place < 0, -place, np.where(place > high, 2 * high - place, place))
    velocity = np.where(beyond, -velocity, velocity)
    acceleration = np.where(beyond, -acceleration, acceleration)
    return (
        np.clip(place, 0, high),
        np.clip(velocity, -fastest, fastest),
        np.clip(acceleration, -change, change),
    )


def ink(image: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "_ _"]:
    """The image at its full range, cut to the rows and columns that hold something."""
    full = np.rint(image * (255 / max(int(image.max()), 1))).astype(np.uint8)
    rows, columns = (np.flatnonzero(full.any(axis)) for axis in (1, 0))
    if not len(rows):
        return full
    return full[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def apart(
    rng: np.random.Generator, strokes: list[UInt8[np.ndarray, "_ _"]], size: int
) -> Float64[np.ndarray, "n 2"] | None:
    """Whole top left corners (x, y) in the frame at which boxes do not overlap; None after too many tries."""
    taken = np.zeros((size, size), bool)
    corners: list[Float64[np.ndarray, 2]] = []
    for _ in range(TRIES if strokes else 0):
        height, width = strokes[len(corners)].shape
        if height > size or width > size:
            return None
        x, y = np.rint(rng.uniform(0, (size - width, size - height))).astype(int)
        place = slice(y, y + height), slice(x, x + width)
        if not taken[place].any():
            taken[place] = True
            corners.append(np.array([x, y], np.float64))
            if len(corners) == len(strokes):
                break
    if len(corners) < len(strokes):
        return None
    return np.array(corners, np.float64).reshape(-1, 2)


def draw_within(
    strokes: list[UInt8[np.ndarray, "_ _"]], corners: Int64[np.ndarray, "t n 2"], size: int
) -> tuple[UInt8[np.ndarray, "t n size size"], np.ndarray]:
    """Each digit alone in the frame, cut at its right and lower edges, and the share of its ink that is left."""
    masks = np.zeros((*corners.shape[:2], size, size), np.uint8)
    inside = np.zeros(corners.shape[:2], np.float32)
    for t, i in np.ndindex(*corners.shape[:2]):
        x, y = corners[t, i]
        part = strokes[i][: max(size - y, 0), : max(size - x, 0)]
        masks[t, i, y : y + part.shape[0], x : x + part.shape[1]] = part
        inside[t, i] = part.sum() / max(int(strokes[i].sum()), 1)
    return masks, inside


def scikit_learn_labels() -> UInt8[np.ndarray, "1797"]:
    """Which digits `scikit_learn_digits` shows."""
    from sklearn.datasets import load_digits  # takes a second to import

    return load_digits().target.astype(np.uint8)  # type: ignore[no-any-return]
