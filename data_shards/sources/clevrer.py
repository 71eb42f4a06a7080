"""CLEVRER: solids that enter, collide and leave (Yi et al., 2020), with what is said of each video beside it.

20,000 videos of 128 frames 480x320: video_00000.mp4 to 09999 are for training, to 14999 for validation, to 19999 for
test. annotation_#####.json (not for test) tells which objects a video has, and which of them are in view in each
frame; proposal_#####.json, of the archive derender_proposals, has masks that a detector found, with colour, material
and shape of each, which tell the objects of a video apart. Masks are as good as that detector: some are missing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image

from data_shards.clip import Clip
from data_shards.mistake import UserError
from data_shards.sources.decoding import Damaged
from data_shards.sources.footage import Footage
from data_shards.sources.inventory import Inventory, visible_names
from data_shards.sources.run_lengths import decode_runs
from data_shards.sources.shots import decode
from data_shards.sources.splits import SPLITS, split_number
from data_shards.storage.document import parse_document
from data_shards.storage.place import open_store

STARTS = dict(zip(SPLITS, (0, 10_000, 15_000), strict=True))  # numbers of the first video of each split
NUMBERED = re.compile(r"(?:.*/)?(video|annotation|proposal)_(\d{5})\.(mp4|json)$")
DOCUMENT_BYTES = 64 << 20  # of what is said of a video, at most
KINDS = ("color", "material", "shape")
NO_FRAMES, NO_DOCUMENT = "videos of another length", "videos of which nothing is said"

Kind = tuple[str, ...]
Objects = list[dict[str, Any]]


@dataclass(frozen=True)
class Clevrer:
    """CLEVRER: solids that enter, collide and leave, in the official splits, with objects and masks where given.

    The middle 320x320 pixels of each frame, reduced by means of pixels (masks by nearest neighbour). The truth is
    which objects are in view in which frame, with `annotations`; and the ids of objects, with `masks`: of objects that
    are numbered as in the annotations, else by their names. `facts` has the video's number, the first frame, objects,
    collisions, and how many objects in view have no mask. Videos that are damaged or of another length are left out,
    and those of which `annotations` or `masks` say nothing, as of the test videos.
    """

    input: str
    """Folder of the videos video_#####.mp4, at any depth; a path or URL."""
    annotations: str | None = None
    """Folder of annotation_#####.json, likewise; by default the truth has no objects."""
    masks: str | None = None
    """Folder of proposal_#####.json, likewise; by default the truth has no masks."""
    size: int = 64
    """Side of the frames, pixels, 8 or more."""
    frames: int = 40
    """Length of a clip, 2 or more; each video gives as many as fit one after the other."""
    spacing: int = 1
    """Frames of the video from one frame of a clip to the next, 1 or more."""
    length: int = 128
    """Frames of a whole video; others are left out."""
    in_view: bool = False
    """Of each video only its first clip in which all its objects are in view; needs annotations."""
    fewest: int = 0
    """Least number of objects of a video, 0 or more; needs annotations where above 0."""
    most: int = 32
    """Largest number of objects of a video, fewest to 32; needs annotations where below 32."""

    def __post_init__(self) -> None:
        for name, low in (("size", 8), ("frames", 2), ("spacing", 1), ("length", 2), ("fewest", 0)):
            if (value := getattr(self, name)) < low:
                raise UserError(f"{name} {value} must be at least {low}")
        if not self.fewest <= self.most <= 32:
            raise UserError(f"most {self.most} must be fewest, which is {self.fewest}, to 32")
        if self._span > self.length:
            raise UserError(
                f"frames {self.frames}: with spacing {self.spacing} longer than length {self.length}"
            )
        if self.annotations is None and (self.in_view or self.fewest > 0 or self.most < 32):
            raise UserError(
                "annotations are needed for in_view, fewest and most: they say which objects there are"
            )

    @property
    def _span(self) -> int:
        return (self.frames - 1) * self.spacing + 1

    # Cached, not a field: it is what the parameters lead to.
    @cached_property
    def _inventory(self) -> Inventory:
        return Inventory()

    @cached_property
    def _videos(self) -> dict[int, str]:
        found = self._numbered(self.input, "video")
        if not found:
            raise UserError(f"input {self.input}: no video_#####.mp4 there")
        return found

    def _numbered(self, folder: str, what: str) -> dict[int, str]:
        """Names of files of a kind by their numbers."""
        names, _ = visible_names(open_store(folder), (".mp4", ".json"), self._inventory)
        matches = [(NUMBERED.match(name), name) for name in names]
        return {int(m[2]): name for m, name in matches if m is not None and m[1] == what}

    @cached_property
    def _said(self) -> dict[str, dict[int, str]]:
        folders = {"annotation": self.annotations, "proposal": self.masks}
        return {what: self._numbered(place, what) for what, place in folders.items() if place is not None}

    def statistics(self) -> dict[str, object]:
        """Videos that there are, and those that were left out."""
        return {"files": len(self._videos), "inputs_left_out": self._inventory.summary()}

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        """At most `count` clips of `split`, video after video in an order drawn from `seed`.

        Raises:
            UserError: no video there; what is said of one is malformed. Names the file.
            StorageError: a store refuses.
        """
        place = split_number(split)
        stop = [*STARTS.values(), inf][place + 1]
        numbers = [number for number in sorted(self._videos) if STARTS[split] <= number < stop]
        order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(numbers)).tolist()
        made = 0
        for number in (numbers[i] for i in order):
            if made >= count:
                return
            for clip in self._clips(number):
                if made < count:
                    made += 1
                    yield clip

    def _clips(self, number: int) -> Iterator[Clip]:
        """Those of one video."""
        footage = Footage(self.input, self._videos[number])
        if any(number not in names for names in self._said.values()):
            self._inventory.leave_out(NO_DOCUMENT, str(footage))
            return
        annotation, proposal = (self._document(what, number) for what in ("annotation", "proposal"))
        kinds = None if annotation is None else _kinds(annotation)
        if kinds is not None and not self.fewest <= len(kinds) <= self.most:
            return
        exists = None if annotation is None else _in_view(annotation, self.length)
        starts = range(0, self.length - self._span + 1, self._span)
        if self.in_view and exists is not None:
            whole: Any = exists.all(1)
            starts = range(self.length - self._span + 1)
            starts = range(*next(((s, s + 1) for s in starts if whole[s : s + self._span].all()), (0, 0)))
        if not starts or (pictures := self._pictures(footage)) is None:
            return
        ids = None if proposal is None else self._ids(proposal, kinds or _found_kinds(proposal))
        for start in starts:
            which = slice(start, start + self._span, self.spacing)
            yield self._clip(number, start, pictures[which], annotation, exists, ids, which)

    def _clip(
        self,
        number: int,
        start: int,
        pictures: UInt8[np.ndarray, "t h w 3"],
        annotation: dict[str, Any] | None,
        exists: Int32[np.ndarray, "all n"] | None,
        ids: UInt8[np.ndarray, "all h w"] | None,
        which: slice,
    ) -> Clip:
        facts: dict[str, object] = {"video": number, "first_frame": start}
        if annotation is not None:
            facts |= {"objects": annotation["object_property"], "collisions": annotation.get("collision", [])}
        seen = None if ids is None else ids[which]
        there = None if exists is None else exists[which]
        if seen is not None and there is not None:
            shown = (seen[:, None] == np.arange(1, there.shape[1] + 1)[:, None, None]).any((2, 3))
            facts["without_mask"] = int((there.astype(bool) & ~shown).sum())
        return Clip(f"video-{number:05d}-{start:03d}", pictures, visible_ids=seen, exists=there, facts=facts)

    def _pictures(self, footage: Footage) -> UInt8[np.ndarray, "t h w 3"] | None:
        """All frames of a video; None, and counted, where it is damaged or of another length."""
        try:
            shape = self.size, self.size
            frames = [picture.image for picture in decode(footage, shape, "crop", False, inf)]
        except (Damaged, UserError):
            frames = []
        if len(frames) != self.length:
            self._inventory.leave_out(NO_FRAMES, str(footage))
            return None
        return np.stack(frames)

    def _ids(self, proposal: dict[str, Any], kinds: list[Kind]) -> UInt8[np.ndarray, "t h w"]:
        """Of all frames; where masks overlap the smaller one is in front. Of two of one kind the larger counts."""
        ids = np.zeros((self.length, self.size, self.size), np.uint8)
        for place, frame in enumerate(proposal["frames"][: self.length]):
            masks: dict[Kind, UInt8[np.ndarray, "h w"]] = {}
            for found in frame["objects"]:
                mask = cropped(decode_runs(found["mask"]), self.size)
                kind = _kind(found)
                if kind in kinds and mask.sum() > (masks[kind].sum() if kind in masks else 0):
                    masks[kind] = mask
            for kind, mask in sorted(masks.items(), key=lambda item: -int(item[1].sum())):
                ids[place][mask > 0] = kinds.index(kind) + 1
        return ids

    def _document(self, what: str, number: int) -> dict[str, Any] | None:
        """What is said of a video; None where nothing was asked for.

        Raises:
            UserError: it is malformed.
        """
        folder = {"annotation": self.annotations, "proposal": self.masks}[what]
        if folder is None:
            return None
        store, name = open_store(folder), self._said[what][number]
        try:
            document = parse_document(store.read(name), DOCUMENT_BYTES)
            return _checked(document, what)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{store.address(name)}: is no {what} of CLEVRER ({error})") from error


def cropped(mask: np.ndarray, size: int) -> UInt8[np.ndarray, "size size"]:
    """The middle of a mask, as high as it is, by nearest neighbour."""
    height, width = mask.shape
    left = (width - height) // 2
    picture = Image.fromarray(mask[:, left : left + height].astype(np.uint8))
    return np.asarray(picture.resize((size, size), Image.Resampling.NEAREST))


def _checked(document: dict[str, Any], what: str) -> dict[str, Any]:
    """The document, every part of it that is used being there."""
    if what == "annotation":
        _kinds(document)
        for frame in document["motion_trajectory"]:
            for seen in frame["objects"]:
                bool(seen["inside_camera_view"]), int(seen["object_id"]), int(frame["frame_id"])
    else:
        for frame in document["frames"]:
            for found in frame["objects"]:
                _kind(found), found["mask"]
    return document


def _kind(found: dict[str, Any]) -> Kind:
    return tuple(str(found[name]) for name in KINDS)


def _kinds(annotation: dict[str, Any]) -> list[Kind]:
    """Of the objects, in the order of their numbers."""
    objects: Objects = annotation["object_property"]
    return [_kind(one) for one in sorted(objects, key=lambda one: int(one["object_id"]))]


def _found_kinds(proposal: dict[str, Any]) -> list[Kind]:
    """Of all that was found, in the order of their names."""
    return sorted({_kind(found) for frame in proposal["frames"] for found in frame["objects"]})


def _in_view(annotation: dict[str, Any], length: int) -> Int32[np.ndarray, "t n"]:
    """1 where each object is in view."""
    numbers = sorted(int(one["object_id"]) for one in annotation["object_property"])
    exists = np.zeros((length, len(numbers)), np.int32)
    for frame in annotation["motion_trajectory"]:
        for seen in frame["objects"]:
            if frame["frame_id"] < length and seen["object_id"] in numbers:
                exists[frame["frame_id"], numbers.index(seen["object_id"])] = bool(seen["inside_camera_view"])
    return exists
