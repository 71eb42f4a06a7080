"""Real video: files, or folders of pictures, as clips that never cross a scene cut, in splits that share no frame."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Literal

import numpy as np

from data_shards.clip import Clip
from data_shards.mistake import UserError
from data_shards.sources.decoding import Damaged, Extent
from data_shards.sources.findings import Findings
from data_shards.sources.footage import Recording, find_footage
from data_shards.sources.inventory import Inventory
from data_shards.sources.picture_folder import RATE
from data_shards.sources.shots import DecodedFrame, at_rate, decode, moving_share, prove
from data_shards.sources.small_picture import Fit
from data_shards.sources.splits import split_items, split_number, split_times
from data_shards.sources.tar_video import TarVideo

Part = tuple[Recording, Extent, range]  # a file, and the frames of it that belong to a split

REMEDY = " (mend or remove what is bad, or leave it out by --skip-bad)"

MOST_FRAMES = 1_000_000  # of a clip or between two, and pixels of a side: more is a slip of the finger


@dataclass(frozen=True)
class VideoFiles:
    """Any video: files or folders of numbered pictures, cut into square clips of one take each.

    Splits are made of whole tars where each gets at least one, else of whole files, else of ranges of time in each
    file, `gap` seconds apart. Where there are more clips than asked for, each file gives its share, at random places.
    """

    input: tuple[str, ...]
    """Videos: files, folders of files or of numbered pictures, tars in WebDataset's layout, and patterns such as
    'films/*.mp4' or 's3://bucket/clips-{000000..000099}.tar'; paths or URLs."""
    size: int = 64
    """Side of the frames, pixels, 8 or more."""
    frames: int = 12
    """Length of a clip, 2 or more."""
    fps: float | None = None
    """Frames of a clip per second, above 0 and at most what the files have; by default every frame of a file is taken.
    Numbered pictures are taken to have this rate, by default 25."""
    stride: int | None = None
    """Frames from the start of a clip to the start of the next, 1 or more; by default as many as a clip has, so that
    none overlap."""
    fit: Fit = "crop"
    """How frames become square: crop takes the largest part in the middle, stretch squeezes the whole frame."""
    grey: bool = False
    """Frames have one channel instead of red, green and blue."""
    cut: float = 0.35
    """How unlike two neighbouring frames of one take may be, 0 to 2: motion reaches about 0.27, cuts begin at about
    0.5, and 2 finds no cuts."""
    min_motion: float = 0.0
    """Share of its pixels, 0 to 1, that have to move in a clip; others are left out."""
    val_share: float = 0.1
    """Share of val, 0 to 0.5: of the files, or of the time of each file if these are few."""
    test_share: float = 0.1
    """Share of test, 0 to 0.5, likewise."""
    gap: float = 0.5
    """Time left out between two splits in one file, seconds, 0 or more."""
    video_encoding: Literal["h264", "lossless"] = "h264"
    """How frames are stored: h264 is small and true to about 40 dB, lossless keeps every bit."""
    skip_bad: bool = False
    """Leave out inputs that cannot be used, and count them; by default they are named, all at once, and nothing is
    built."""

    def __post_init__(self) -> None:
        for name, low in (("size", 8), ("frames", 2), ("stride", 1)):
            if (value := getattr(self, name)) is not None and not low <= value <= MOST_FRAMES:
                raise UserError(f"{name} {value} must be {low} to {MOST_FRAMES}")
        if self.fps is not None and not 1e-4 <= self.fps <= 1000:
            raise UserError(f"fps {self.fps} must be 0.0001 to 1000; leave it out for the file's own rate")
        if self.fit not in ("crop", "stretch"):
            raise UserError(f"fit {self.fit!r} must be crop or stretch")
        if self.video_encoding not in ("h264", "lossless"):
            raise UserError(f"video_encoding {self.video_encoding!r} must be h264 or lossless")
        for name, high in (("cut", 2), ("min_motion", 1), ("val_share", 0.5), ("test_share", 0.5)):
            if not 0 <= (value := getattr(self, name)) <= high:
                raise UserError(f"{name} {value} must be 0 to {high}")
        if self.val_share + self.test_share >= 1:
            raise UserError(f"val_share {self.val_share} + test_share {self.test_share} must be below 1")
        if not 0 <= self.gap < inf:
            raise UserError(f"gap {self.gap} must be at least 0 seconds, and finite")

    def _footage(self) -> tuple[Recording, ...]:
        """The files and folders of pictures to make clips of."""
        return find_footage(self.input, self.fps or RATE, self._inventory)

    # Cached, not fields: they are what the parameters lead to.
    @cached_property
    def _files(self) -> tuple[tuple[Recording, Extent], ...]:
        """Every file is opened before the first clip is made, so a bad one costs no work."""
        found = [file for footage in self._footage() if (file := self._proven(footage)) is not None]
        self._inventory.check(self.skip_bad and bool(found), REMEDY if found else "")
        files = tuple(found)
        if all(extent.packets < self._span(extent) for _, extent in files):
            footage, extent = max(files, key=lambda file: file[1].packets / self._span(file[1]))
            raise UserError(
                f"frames {self.frames}: no input is that long; the longest, {footage}, has {extent.packets} frames at "
                f"{extent.rate:g} per second"
            )
        return files

    def _proven(self, footage: Recording) -> tuple[Recording, Extent] | None:
        """What of it can be used; None if nothing can."""
        file = prove(footage, self._inventory)
        # A tenth more is a matter of rounding: 29.97 for 30.
        if file is not None and self.fps is not None and self.fps > 1.1 * file[1].rate:
            reason = f"fps {self.fps:g}: {footage} has only {file[1].rate:g} frames per second"
            self._inventory.refuse(str(footage), reason)
            return None
        return file

    @cached_property
    def _inventory(self) -> Inventory:
        return Inventory()

    @cached_property
    def _findings(self) -> Findings:
        return Findings()

    def statistics(self) -> dict[str, object]:
        """What was met so far: numbers of files and cuts, of what was left out; what is wrong with which file."""
        counts = {"files": len(self._files), "inputs_left_out": self._inventory.summary()}
        described = self._inventory.described
        return counts | ({"described": described} if described else {}) | self._findings.statistics()

    def left_out(self, split: str) -> str:
        """Why there are no more clips of `split`, after they were made; empty if nothing was left out."""
        return self._findings.left_out(split, self.frames)

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        """At most `count` clips of `split`, file after file in an order drawn from `seed`.

        Raises:
            UserError: an input is missing or is not a video; names it.
            StorageError: a store refuses.
        """
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split_number(split),)))
        parts = self._parts(split, seed)
        if not parts:
            self._findings.empty[split] = self._reason(split)
        parts = [parts[i] for i in rng.permutation(len(parts))]
        expected = [self._expected(extent, frames) for _, extent, frames in parts]
        made: set[tuple[str, int]] = set()
        sampled = []  # parts of which not every clip was wanted
        for number, part in enumerate(parts):
            missing, rest = count - len(made), sum(expected[number:])
            quota = int(np.ceil(missing * min(1.0, expected[number] / rest))) if rest else 0
            if missing < rest:
                sampled.append(part)
            if quota:
                draw = _Draw(rng, quota, expected[number] if missing < rest else 0)
                yield from self._drawn(part, split, draw, made)
        # Where later files gave less than was expected of them, the clips left in the earlier ones make up for it.
        for part in sampled:
            if missing := count - len(made):
                yield from self._drawn(part, split, _Draw(rng, missing, 0), made)

    def _drawn(self, part: Part, split: str, draw: "_Draw", made: set[tuple[str, int]]) -> Iterator[Clip]:
        """The clips of `part` that `draw` wants; `made` has (file, first frame) of all before, and gets theirs."""
        footage, extent, _ = part
        for pictures in self._stretches(part, split):
            start = (str(footage), pictures[0].number)
            if start in made or not draw.wanted():
                continue
            images = np.stack([picture.image for picture in pictures])
            if self.min_motion and moving_share(images) < self.min_motion:
                self._findings.still.add((split, *start))
                continue
            made.add(start)
            yield Clip(
                key=f"{split}-{len(made) - 1:06d}",
                frames=images,
                facts={
                    "file": footage.name.encode(errors="backslashreplace").decode(),  # names need not be text
                    "first_frame": pictures[0].number,
                    "last_frame": pictures[-1].number,
                    "time": round(pictures[0].time, 6),
                    "fps": self.fps or extent.rate,
                },
            )
            if draw.taken():
                break

    def _reason(self, split: str) -> str:
        """Why no frames belong to `split`."""
        if split != "train" and not getattr(self, f"{split}_share"):
            return f"{split}_share is 0"
        return (
            f"no input is long enough for parts of it that hold a clip of {self.frames} frames each, gap "
            f"{self.gap:g} s apart; give longer or more inputs, or make frames or gap smaller"
        )

    def _parts(self, split: str, seed: int) -> list[Part]:
        """The frames that belong to `split`, by file."""
        shares = (self.val_share, self.test_share)
        tars = [file.unit if isinstance(file, TarVideo) else str(file) for file, _ in self._files]
        for units in (tars, [str(file) for file, _ in self._files]):  # whole tars rather than files in them
            numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
            if (dealt := split_items(len(numbers), shares, seed)) is not None:
                chosen = set(dealt[split])
                files = zip(units, self._files, strict=True)
                return [(*file, range(2**62)) for unit, file in files if numbers[unit] in chosen]
        parts = []
        for footage, extent in self._files:
            gap = int(np.ceil(self.gap * extent.rate))
            frames = split_times(extent.packets, shares, self._span(extent), gap)[split]
            # The last range of a file is open: packets are an estimate.
            parts.append(
                (
                    footage,
                    extent,
                    range(frames.start, 2**62 if frames.stop == extent.packets else frames.stop),
                )
            )
        return [part for part in parts if part[2]]

    def _span(self, extent: Extent) -> int:
        """Frames of the file from the first to the last of a clip, both included."""
        step = 1.0 if self.fps is None else max(1.0, extent.pace / self.fps)
        return int(np.ceil((self.frames - 1) * step)) + 1

    def _expected(self, extent: Extent, frames: range) -> int:
        """Clips to expect of a stretch without cuts."""
        step = 1.0 if self.fps is None else max(1.0, extent.pace / self.fps)
        length = min(frames.stop, extent.packets) - frames.start
        return max(0, int((length - self._span(extent)) / (step * (self.stride or self.frames))) + 1)

    def _stretches(self, part: Part, split: str) -> Iterator[tuple[DecodedFrame, ...]]:
        """Runs of `self.frames` pictures of one shot within the frames of `part`, `stride` apart."""
        footage, extent, frames = part
        stride, findings = self.stride or self.frames, self._findings
        window: deque[DecodedFrame] = deque(maxlen=self.frames)
        run = 0  # pictures since the shot or the range began

        def end() -> None:
            if 0 < run < self.frames:
                findings.short.add((split, str(footage), window[-1].shot))

        pictures = decode(footage, (self.size, self.size), self.fit, self.grey, self.cut)
        try:
            for picture in at_rate(pictures, self.fps, extent.rate):
                findings.lost[footage.name] = max(picture.lost, findings.lost.get(footage.name, 0))
                if picture.number >= frames.stop:
                    break
                if picture.number < frames.start:
                    continue
                if window and picture.shot != window[-1].shot:
                    end()
                    window.clear()
                    run = 0
                    findings.cuts.add((str(footage), picture.shot))
                window.append(picture)
                run += 1
                if run >= self.frames and (run - self.frames) % stride == 0:
                    yield tuple(window)
        except Damaged as error:
            findings.damaged[footage.name] = str(error)
            findings.lost[footage.name] = error.lost
        end()


class _Draw:
    """Takes `quota` of about `left` items that come one by one, each as likely (Knuth's algorithm S).

    An item that is wanted but turns out unfit is not `taken`, and a later one takes its place.
    """

    def __init__(self, rng: np.random.Generator, quota: int, left: int) -> None:
        self._rng, self._quota, self._left = rng, quota, left

    def wanted(self) -> bool:
        self._left -= 1
        return self._quota > self._left or self._rng.random() * (self._left + 1) < self._quota

    def taken(self) -> bool:
        """Count one; whether it was the last."""
        self._quota -= 1
        return self._quota == 0
