"""Moving MNIST: handwritten digits that bounce inside the frame and cross each other, with their truth.

The motion is that of the reference generator of "Unsupervised learning of video representations using LSTMs"
(Srivastava et al., 2015): a step of a tenth of the free range in a random direction, reflection at the walls, places
cut to whole pixels, overlaps by maximum. "Spatio-temporal video autoencoder with differentiable memory" (arXiv
1511.06309, section 5.1) draws the speed as well and feeds binary data: `step_min`, `step_max` and `binary`. Each
digit has a direction and a speed of its own, which it keeps but for the walls.

Departures: splits have digits of their own (the reference draws all of them from MNIST's training images), and a
clip's digits differ from each other.
"""

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from PIL import Image

from data_shards.clip import Clip
from data_shards.mistake import UserError
from data_shards.sources.idx import read_bytes, read_images
from data_shards.sources.splits import clip_generator, split_number
from data_shards.storage.place import canonical, is_elsewhere

EMBEDDED_DIGITS = "scikit-learn"  # the digits at hand where there are no files
# Pixels of the frame, of a digit's image, of the box that its strokes fill.
PAPER_SIZE, DIGIT, INK = 64, 28, 20
COARSE, LOOKED_AT = 4, 24  # fields along a side, clips and frames, by which time is told from clips
ALIKE = 0.7  # at the usual speeds neighbours in time differ by 0.25 to 0.4 of what neighbouring clips do
HALF = 128  # of 255: from here on a pixel is lit


@dataclass(frozen=True)
class MovingMnist:
    """Moving MNIST: handwritten digits, grey, that bounce inside the frame and cross each other, with their truth.

    Of MNIST's files the last sixth of the training images is for val, the test images are for test. With `sequences`
    the test split is that array, without truth, and the other splits are empty.

    The truth is of what is drawn: centres and velocities are those of the digits' images at whole pixels, amodal
    masks are the strokes of each digit. Where digits overlap, a pixel is the brighter one's, of equals the
    first's. `facts` has the places of the digits in their file.
    """

    digits: str = EMBEDDED_DIGITS
    """Folder of MNIST's IDX files, a path or URL; scikit-learn stands for the 1797 digits of 8x8 pixels that come with
    it."""
    sequences: str | None = None
    """A fixed npy array (frames, clips, size, size), such as the community's test set, a path or URL; by default clips
    are drawn. The first two axes may be the other way round where that can be told."""
    size: int = 64
    """Side of the frames, pixels, 16 or more: digits are 28 pixels of 64, other sizes show the scene at another
    scale."""
    frames: int = 20
    """Length of a clip, 2 or more."""
    objects: int = 2
    """Digits of a clip, 1 to 16."""
    step_min: float = 0.1
    """Least speed of a digit, as a share, 0 to 1, of the way it can go along each axis, per frame: 0.1 is 3.6 of 64
    pixels."""
    step_max: float = 0.1
    """Largest speed of a digit, likewise, step_min to 1."""
    direction: float | None = None
    """Where all digits go at first, degrees, 0 to 360: 0 right, 90 down, 180 left, 270 up; by default each digit
    anywhere."""
    binary: bool = True
    """Every pixel is 0 or 255, lit from half brightness on; else grey."""

    def __post_init__(self) -> None:
        if self.size < 16:
            raise UserError(f"size {self.size} must be at least 16 pixels")
        if self.frames < 2:
            raise UserError(f"frames {self.frames} must be at least 2")
        if not 1 <= self.objects <= 16:
            raise UserError(f"objects {self.objects} must be 1 to 16")
        if not 0 <= self.step_min <= self.step_max <= 1:
            raise UserError(
                f"step_min {self.step_min} and step_max {self.step_max} must satisfy 0 <= min <= max <= 1"
                " (of the way that a digit can go along each axis, per frame)"
            )
        if self.direction is not None and not 0 <= self.direction < 360:
            raise UserError(
                f"direction {self.direction} must be 0 to 360 degrees, 0 right and 90 down; leave it out for any"
            )

    # Cached, not fields: they are what the parameters lead to.
    @cached_property
    def _digits(self) -> dict[str, tuple[int, UInt8[np.ndarray, "n side side"]]]:
        """By split: the place of its first digit in the file, and its digits."""
        if self.digits == EMBEDDED_DIGITS:
            images, tests = scikit_learn_digits(), None
        else:
            images = read_images(self.digits, "train-images-idx3-ubyte")
            tests = read_images(self.digits, "t10k-images-idx3-ubyte")
        count = len(images)
        # In the order of the files, in which neighbours are often by one writer: splits share few.
        if tests is None:
            val, test = count * 2 // 3, count * 5 // 6
            return {"train": (0, images[:val]), "val": (val, images[val:test]), "test": (test, images[test:])}
        val = count * 5 // 6
        parts = {"train": (0, images[:val]), "val": (val, images[val:]), "test": (0, tests)}
        for split, (_, digits) in parts.items():
            if len(digits) < self.objects:
                raise UserError(
                    f"digits {self.digits}: {len(digits)} for {split}, objects {self.objects} need more"
                )
        return parts

    @cached_property
    def _sequences(self) -> UInt8[np.ndarray, "t n size size"]:
        assert self.sequences is not None
        array = frames_first(open_array(self.sequences), self.frames, self.sequences)
        t, n, h, w = array.shape if array.ndim == 4 else (0, 0, 0, 0)
        if array.dtype != np.uint8 or t < self.frames or n == 0 or (h, w) != (self.size, self.size):
            raise UserError(
                f"sequences {self.sequences}: is {array.dtype} {array.shape}, needs uint8 (at least {self.frames}"
                f" frames, clips, {self.size}, {self.size})"
            )
        return array

    def parameters(self) -> dict[str, object]:
        """Those with an effect: `sequences` are of frames that are drawn already."""
        drawing = {"digits", "objects", "step_min", "step_max", "direction"} if self.sequences else set()
        return {name: value for name, value in asdict(self).items() if name not in drawing}

    def statistics(self) -> dict[str, object]:
        """How many digits each split draws from."""
        return (
            {}
            if self.sequences
            else {"digits": {split: len(part[1]) for split, part in self._digits.items()}}
        )

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        """The first `count` clips of `split`; of `sequences`, as many as there are."""
        if self.sequences is None:
            return (self.clip(split, index, seed) for index in range(count))
        split_number(split)
        there = min(count, self._sequences.shape[1]) if split == "test" else 0
        return (self._stored(index) for index in range(there))

    def clip(self, split: str, index: int, seed: int) -> Clip:
        """Clip `index` of `split`, a function of the arguments alone."""
        rng = clip_generator(seed, split, index)
        first, digits = self._digits[split]
        chosen = rng.choice(len(digits), self.objects, replace=False)
        images = [scaled(digit, round(DIGIT * self.size / PAPER_SIZE)) for digit in digits[chosen]]
        strokes = np.stack([self._lit(image) for image in images])
        start = rng.random((self.objects, 2))
        angle = rng.uniform(0, 2 * np.pi, self.objects)
        if self.direction is not None:
            angle = np.full(self.objects, np.radians(self.direction))
        step = rng.uniform(self.step_min, self.step_max, (self.objects, 1))
        # One frame more than is shown, for the last velocity.
        places = bounce(start, step * np.stack([np.cos(angle), np.sin(angle)], -1), self.frames + 1)
        side = strokes.shape[-1]
        corners = (places * (self.size - side)).astype(np.int64)
        masks = draw(strokes, corners[:-1], self.size)
        brightest = masks.max(1)
        return Clip(
            key=f"{split}-{index:06d}",
            frames=brightest[..., None],
            visible_ids=np.where(brightest >= HALF, masks.argmax(1) + 1, 0).astype(np.uint8),
            amodal_masks=masks,
            centres=(corners[:-1] + side / 2).astype(np.float32),
            velocities=np.diff(corners, axis=0).astype(np.float32),
            facts={"digits": (first + chosen).tolist(), "steps": step[:, 0].tolist()},
        )

    def _stored(self, index: int) -> Clip:
        frames = self._lit(np.asarray(self._sequences[: self.frames, index]))
        return Clip(key=f"test-{index:06d}", frames=frames[..., None], facts={"sequence": index})

    def _lit(self, images: UInt8[np.ndarray, "*n h w"]) -> UInt8[np.ndarray, "*n h w"]:
        return np.where(images >= HALF, 255, 0).astype(np.uint8) if self.binary else images


def bounce(
    start: Float64[np.ndarray, "n 2"], velocity: Float64[np.ndarray, "n 2"], frames: int
) -> Float64[np.ndarray, "frames n 2"]:
    """Places (x, y) in [0, 1]: the first is one step after `start`; at a wall a digit stops and turns about."""
    place, velocity = start.copy(), velocity.copy()
    places = np.empty((frames, *start.shape))
    for t in range(frames):
        place += velocity
        velocity[(place <= 0) | (place >= 1)] *= -1
        places[t] = np.clip(place, 0, 1, out=place)
    return places


def draw(
    strokes: UInt8[np.ndarray, "n side side"], corners: Int64[np.ndarray, "t n 2"], size: int
) -> UInt8[np.ndarray, "t n size size"]:
    """Each digit alone in the frame, its image's top left pixel at `corners` (x, y)."""
    side = strokes.shape[-1]
    masks = np.zeros((*corners.shape[:2], size, size), np.uint8)
    for t, i in np.ndindex(*corners.shape[:2]):
        x, y = corners[t, i]
        masks[t, i, y : y + side, x : x + side] = strokes[i]
    return masks


def scaled(image: UInt8[np.ndarray, "h w"], side: int) -> UInt8[np.ndarray, "side side"]:
    """The image at another size: averages over the pixels of a smaller one, bicubic for a larger one."""
    if image.shape == (side, side):
        return image
    how = Image.Resampling.BOX if side < len(image) else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((side, side), how))


def scikit_learn_digits() -> UInt8[np.ndarray, "1797 28 28"]:
    """The test part of UCI's optical digits, 8x8 pixels, laid out as MNIST's: 20x20 in the middle of 28x28."""
    from sklearn.datasets import load_digits  # takes a second to import

    small = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    margin = (DIGIT - INK) // 2
    return np.pad(
        np.stack([scaled(image, INK) for image in small]), ((0, 0), (margin, margin), (margin, margin))
    )


def frames_first(array: np.ndarray, frames: int, url: str) -> np.ndarray:
    """The array with time as its first axis, where that is the first or the second of its four.

    Neighbours in time are alike, neighbouring clips are not. Where the pictures do not tell, it is the axis that
    alone has as many entries as a clip is to have frames.

    Raises:
        UserError: neither tells.
    """
    if array.ndim != 4 or 0 in array.shape:
        return array
    t, n, h, w = array.shape
    if 1 in (t, n):
        return array if n == 1 else array.swapaxes(0, 1)
    side = max(1, min(h, w) // COARSE)
    some = np.asarray(array[:LOOKED_AT, :LOOKED_AT, : h // side * side, : w // side * side], np.float64)
    coarse = some.reshape(*some.shape[:2], h // side, side, w // side, side).mean((3, 5))
    first, second = (np.abs(np.diff(coarse, axis=axis)).mean() for axis in (0, 1))
    if first < ALIKE * second or second < ALIKE * first:
        return array if first < second else array.swapaxes(0, 1)
    if (t == frames) != (n == frames):
        return array if t == frames else array.swapaxes(0, 1)
    raise UserError(
        f"sequences {url}: of its shape {array.shape}, the pictures do not tell which axis is time; set frames to the"
        " length of its clips, which there must not be as many of"
    )


def open_array(url: str) -> np.ndarray:
    """The array of an npy file: mapped from a local file, in memory from elsewhere.

    Raises:
        UserError: not an npy file, or one of Python objects.
        StorageError: it cannot be read.
    """
    url = url if is_elsewhere(url) else canonical(url)
    folder, slash, name = url.rpartition("/")
    try:
        if not is_elsewhere(url) and Path(url).is_file():
            return np.lib.format.open_memmap(Path(url), mode="r")
        data = io.BytesIO(read_bytes(folder or slash or ".", name))
        return np.lib.format.read_array(data, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"sequences {url}: not an npy array ({error})") from error
