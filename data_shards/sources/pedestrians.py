"""People before a fixed camera, cut out of their background, in small windows: as SQAIR was trained on CCTV.

Kosiorek et al. (2018), section 4.2, used DukeMTMC, which was withdrawn; any video of a fixed camera takes its place.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32

from data_shards.clip import Clip
from data_shards.mistake import UserError
from data_shards.sources.decoding import Damaged, Extent
from data_shards.sources.footage import Recording, find_footage
from data_shards.sources.foreground import background, foreground, pieces
from data_shards.sources.inventory import Inventory
from data_shards.sources.shots import DecodedFrame, at_rate, decode, prove
from data_shards.sources.splits import split_number, split_times
from data_shards.sources.tracks import Tracks, read_tracks
from data_shards.storage.place import open_store

NO_CUTS = 2.0
TRIES = 20  # windows that are looked at for one clip
FULL = 0.5  # share of foreground above which it is no object that moves, but the light or the camera
INSIDE = 0.5  # share of a true box that lies in a window where its object is there
REMEDY = " (mend or remove what is bad, or leave it out by --skip-bad)"

Window = tuple[int, int]  # its upper left corner, x and y


class File(NamedTuple):
    """A video that can be used."""

    footage: Recording
    extent: Extent
    height: int  # of its own frames, pixels
    width: int


class Truth(NamedTuple):
    """Arrays of a clip, by its names for them."""

    boxes: Float32[np.ndarray, "t n 4"] | None = None
    exists: Int32[np.ndarray, "t n"] | None = None
    visibility: Float32[np.ndarray, "t n"] | None = None


@dataclass(frozen=True)
class Pedestrians:
    """What moves before a fixed camera, grey values turned around on black, in square windows at random places.

    Background is what the frame shows most of the time. Splits are ranges of time of each video. `facts` has the number
    of connected pieces of each frame, as a baseline of counting. With `boxes` the truth has boxes and ids: an object is
    there where half of its box is in the window.
    """

    input: tuple[str, ...]
    """Videos of fixed cameras, as of the source video: files, folders or patterns; paths or URLs."""
    boxes: str | None = None
    """Folder of NAME.txt for each video NAME.*, in MOTChallenge's format: frame from 1, id, left, top, width, height in
    pixels of the video; a path or URL. By default there is no truth."""
    size: int = 64
    """Side of the windows, pixels, 8 or more."""
    frames: int = 5
    """Length of a clip, 2 or more."""
    height: int = 175
    """Frames are reduced to this height, pixels, at least size; lower ones stay as they are."""
    fps: float | None = None
    """Frames of a clip per second; by default every frame of a file is taken."""
    fewest: int = 1
    """Least number of objects in the fullest frame of a clip, 0 or more: boxes, or else pieces."""
    most: int = 3
    """Largest number of objects of a frame, fewest to 32, likewise."""
    threshold: int = 30
    """Grey levels, 1 to 254, by which a pixel must differ from the background."""
    least: int = 12
    """Pixels of the smallest piece, 1 or more."""
    history: int = 500
    """Frames that have one background, 20 or more: who stands still for half of them belongs to it."""
    val_share: float = 0.1
    """Share of val, 0 to 0.5, of the time of each file."""
    test_share: float = 0.1
    """Share of test, 0 to 0.5, likewise."""
    gap: float = 0.5
    """Time left out between two splits, seconds, 0 or more."""
    skip_bad: bool = False
    """Leave out inputs that cannot be used, and count them; by default they are named and nothing is built."""

    def __post_init__(self) -> None:
        lows = {"size": 8, "frames": 2, "fewest": 0, "least": 1, "history": 20, "height": self.size}
        for name, low in lows.items():
            if not low <= (value := getattr(self, name)) <= 1_000_000:
                raise UserError(f"{name} {value} must be {low} to 1000000")
        if not self.fewest <= self.most <= 32:
            raise UserError(f"most {self.most} must be fewest, which is {self.fewest}, to 32")
        if not 1 <= self.threshold <= 254:
            raise UserError(f"threshold {self.threshold} must be 1 to 254 grey levels")
        if self.history < self.frames:
            raise UserError(f"history {self.history} must be at least frames, which is {self.frames}")
        if self.fps is not None and not 1e-4 <= self.fps <= 1000:
            raise UserError(f"fps {self.fps} must be 0.0001 to 1000; leave it out for the file's own rate")
        for name in ("val_share", "test_share"):
            if not 0 <= (share := getattr(self, name)) <= 0.5:
                raise UserError(f"{name} {share} must be 0 to 0.5")
        if self.val_share + self.test_share >= 1:
            raise UserError(f"val_share {self.val_share} + test_share {self.test_share} must be below 1")
        if not 0 <= self.gap < np.inf:
            raise UserError(f"gap {self.gap} must be at least 0 seconds, and finite")

    # Cached, not fields: they are what the parameters lead to.
    @cached_property
    def _inventory(self) -> Inventory:
        return Inventory()

    @cached_property
    def _files(self) -> tuple[File, ...]:
        """Every file is opened before the first clip is made."""
        found = []
        for footage in find_footage(self.input, inventory=self._inventory):
            if (proven := prove(footage, self._inventory)) is None:
                continue
            whole = next(decode(footage, (self.size, self.size), "stretch", True, NO_CUTS, whole=True)).whole
            assert whole is not None
            height, width = whole.shape[:2]
            if min(height, self._width(height, width)) < self.size:
                reason = (
                    f"{footage}: is {width} x {height} pixels; size {self.size} needs more, or height does"
                )
                self._inventory.refuse(str(footage), reason)
                continue
            found.append(File(*proven, height, width))
        self._inventory.check(self.skip_bad and bool(found), REMEDY if found else "")
        return tuple(found)

    def _width(self, height: int, width: int) -> int:
        """Of the reduced frames."""
        return max(1, round(width * min(self.height, height) / height))

    def statistics(self) -> dict[str, object]:
        """For the manifest."""
        return {"files": len(self._files), "inputs_left_out": self._inventory.summary()}

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        """At most `count` clips of `split`, file after file, each file's from all of its time.

        Raises:
            UserError: an input is missing or is not a video, or a file of boxes is none; names it.
            StorageError: a store refuses.
        """
        made = 0
        for number, file in enumerate(self._files):
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split_number(split), number)))
            quota = -(-(count - made) // (len(self._files) - number))
            for clip in _reservoir(rng, self._candidates(file, split, rng), quota):
                yield replace(clip, key=f"{split}-{made:06d}")
                made += 1

    def _candidates(self, file: File, split: str, rng: np.random.Generator) -> Iterator[Clip]:
        """Clips one after the other, in windows at random places that have a fitting number of objects."""
        tracks = self._tracks(file)
        for block in self._blocks(file, split):
            images = np.stack([picture.image[..., 0] for picture in block])
            masks = foreground(images, background(images), self.threshold)
            lit = np.where(masks, 255 - images, 0).astype(np.uint8)
            for start in range(0, len(block) - self.frames + 1, self.frames):
                part = slice(start, start + self.frames)
                pictures = block[part]
                if pictures[0].shot != pictures[-1].shot:
                    continue
                for _ in range(TRIES):
                    x, y = (int(rng.integers(n - self.size + 1)) for n in images.shape[:0:-1])
                    view = part, slice(y, y + self.size), slice(x, x + self.size)
                    clip = self._clip(file, pictures, tracks, (x, y), masks[view])
                    if clip is not None:
                        yield replace(clip, frames=lit[view][..., None])
                        break

    def _blocks(self, file: File, split: str) -> Iterator[list[DecodedFrame]]:
        """The frames of the split, reduced, as many at a time as have one background."""
        extent = file.extent
        step = 1.0 if self.fps is None else max(1.0, extent.pace / self.fps)
        span, gap = int(np.ceil((self.frames - 1) * step)) + 1, int(np.ceil(self.gap * extent.rate))
        frames = split_times(extent.packets, (self.val_share, self.test_share), span, gap)[split]
        shape = min(self.height, file.height), self._width(file.height, file.width)
        pictures = decode(file.footage, shape, "stretch", True, NO_CUTS)
        block: list[DecodedFrame] = []
        try:
            for picture in at_rate(pictures, self.fps, extent.rate):
                if picture.number >= frames.stop:
                    break
                if picture.number >= frames.start:
                    block.append(picture)
                if len(block) == 2 * self.history:  # so that the last has no less than that
                    yield block[: self.history]
                    block = block[self.history :]
        except Damaged:
            pass  # what is lost begins another shot
        if len(block) >= self.frames:
            yield block

    def _tracks(self, file: File) -> Tracks | None:
        if self.boxes is None:
            return None
        name = file.footage.name.rpartition("/")[2].rpartition(".")[0] + ".txt"
        store = open_store(self.boxes)
        if not store.exists(name):
            raise UserError(f"boxes {self.boxes}: no {name} there, which {file.footage} needs")
        return read_tracks(store, name)

    def _clip(
        self,
        file: File,
        pictures: list[DecodedFrame],
        tracks: Tracks | None,
        corner: Window,
        masks: Bool[np.ndarray, "t h w"],
    ) -> Clip | None:
        """The window with its masks for frames; None where the number of objects does not fit."""
        found = [len(pieces(mask, self.least)) for mask in masks]
        counts, truth = found, Truth()
        facts: dict[str, object] = {}
        if tracks is not None:
            scale = min(self.height, file.height) / file.height
            truth, ids = truth_of([tracks.get(p.number, {}) for p in pictures], scale, corner, self.size)
            assert truth.exists is not None
            counts, facts["ids"] = truth.exists.sum(1).tolist(), ids
        if not self.fewest <= max(counts) <= self.most or masks.mean((1, 2)).max() > FULL:
            return None
        facts |= {
            "file": file.footage.name.encode(errors="backslashreplace").decode(),  # names need not be text
            "first_frame": pictures[0].number,
            "last_frame": pictures[-1].number,
            "window": list(corner),
            "pieces": found,
        }
        return Clip(key="", frames=masks[..., None].astype(np.uint8), facts=facts, **truth._asdict())


def truth_of(
    boxes: list[dict[int, tuple[float, float, float, float]]], scale: float, corner: Window, size: int
) -> tuple[Truth, list[int]]:
    """Arrays of a clip, and the ids of its objects: those that are there in some frame.

    Args:
        boxes: of each frame, by id, x0 y0 x1 y1 in pixels of the video.
        scale: of the frames that the window is cut from.
        corner: of the window.
        size: side of the window.
    """
    ids = sorted({who for frame in boxes for who in frame})
    placed = np.zeros((len(boxes), len(ids), 4), np.float32)
    visibility = np.zeros((len(boxes), len(ids)), np.float32)
    for t, frame in enumerate(boxes):
        for i, who in enumerate(ids):
            if who in frame:
                box = np.array(frame[who]) * scale - np.tile(corner, 2)
                inside = np.clip(box, 0, size)
                area = float(np.prod(box[2:] - box[:2]))
                placed[t, i] = box
                visibility[t, i] = float(np.prod(inside[2:] - inside[:2])) / area if area else 0.0
    exists = (visibility >= INSIDE).astype(np.int32)
    seen = [i for i in range(len(ids)) if exists[:, i].any()]
    there = exists[:, seen]
    truth = Truth(
        boxes=placed[:, seen] * there[..., None].astype(np.float32),
        exists=there,
        visibility=visibility[:, seen] * there.astype(np.float32),
    )
    return truth, [ids[i] for i in seen]


def _reservoir(rng: np.random.Generator, items: Iterator[Clip], quota: int) -> list[Clip]:
    """At most `quota` of the items, each as likely, in their order."""
    kept: dict[int, Clip] = {}
    if quota <= 0:
        return []
    draws = np.random.default_rng(rng.integers(2**63))  # apart from what the items draw
    for number, item in enumerate(items):
        if number < quota:
            kept[number] = item
        elif draws.integers(number + 1) < quota:
            del kept[list(kept)[int(draws.integers(quota))]]
            kept[number] = item
    return [kept[number] for number in sorted(kept)]
