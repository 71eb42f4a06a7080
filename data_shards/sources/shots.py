"""Decoding of one video into small pictures, numbered by shot."""

from collections.abc import Iterator
from math import floor
from typing import NamedTuple

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from jaxtyping import Float32, Int64, UInt8

from data_shards.mistake import UserError
from data_shards.sources.decoding import PAUSE, Damaged, Extent, StoredFrame, file_frames, measure_file
from data_shards.sources.footage import Recording
from data_shards.sources.inventory import Inventory
from data_shards.sources.picture_folder import PictureFolder
from data_shards.sources.small_picture import Fit, own_picture, small_picture

BINS = 16  # of the histograms, and places along each side, by which cuts are found
HOLE = 5  # frame intervals that a step in time may be long. Wrong times in old files reach 3
MISSED = 2.5  # the same of the clock that is asked for: of two ticks one may be without a picture
MOVED = 24  # grey levels (of 255) by which a pixel must change to count as moving: above camera noise
STILL = 0.01  # share of moving pixels up to which two pictures are the same


class DecodedFrame(NamedTuple):
    """A frame of a file, small. Those of one `shot` are neighbours in one take; nothing else may go into a clip."""

    image: UInt8[np.ndarray, "h w c"]
    number: int  # of the decoded frame, from 0
    time: float  # seconds
    shot: int
    lost: int = 0  # frames before it that are damaged, or built on damaged ones
    whole: UInt8[np.ndarray, "h w 3"] | None = None  # the same, as a player shows it, where that is asked for


def measure(footage: Recording) -> Extent:
    """How long a recording is, and its rate.

    Raises:
        UserError: not a video, no frame of it can be decoded, or pictures that do not fit together.
        StorageError: the store refuses.
    """
    account = Inventory()
    proven = prove(footage, account)
    account.check()
    assert proven is not None  # else something is wrong with it
    return proven[1]


def prove(footage: Recording, account: Inventory) -> tuple[Recording, Extent] | None:
    """What of a recording can be used, and its extent; the `account` gets what cannot.

    Raises:
        StorageError: the store refuses.
    """
    if isinstance(footage, PictureFolder):
        bad = footage.bad_files()
        for file, why in bad.items():
            account.refuse(f"{footage.root}/{file}", why)
        left = footage.without(bad)
        return None if left is None else (left, Extent(len(left.files), left.rate, left.rate))
    try:
        return footage, measure_file(footage)
    except UserError as error:
        account.refuse(str(footage), str(error))
        return None


def decode(
    footage: Recording, shape: tuple[int, int], fit: Fit, grey: bool, cut: float, whole: bool = False
) -> Iterator[DecodedFrame]:
    """All frames of the best video stream, or of the pictures of a folder.

    What is damaged is left out, with all that is built on it, and begins another shot.

    Args:
        footage: the file or folder.
        shape: height and width of the pictures.
        fit: "crop" takes the largest centre part of that shape, "stretch" squeezes the whole frame.
        grey: one channel instead of RGB.
        cut: threshold of `difference` between two takes.
        whole: give the frames in their own size too.

    Raises:
        UserError: not a video, or not one frame of it can be decoded.
        StorageError: the store refuses.
        Damaged: some frames were left out, or the file ends too early. Raised in the end.
    """
    count, lost, shot, ended = 0, 0, 0, ""
    before: UInt8[np.ndarray, "h w c"] | None = None
    converter, own = VideoReformatter(), VideoReformatter()  # each is fast for one size
    source = _of_folder(footage) if isinstance(footage, PictureFolder) else file_frames(footage)
    try:
        for index, (frame, time, joined, aspect) in enumerate(source):
            if frame is None:
                before, lost = None, lost + 1
                continue
            image = small_picture(frame, aspect, converter, shape, fit, grey)
            if count and (before is None or not joined or difference(before, image) > cut):
                shot += 1
            shown = own_picture(frame, aspect, own) if whole else None
            yield DecodedFrame(image, index, time, shot, lost, shown)
            before, count = image, count + 1
    except Damaged as error:
        ended = str(error)
    if not count:
        raise UserError(f"{footage}: no frame can be decoded{ended and f' ({ended})'}")
    if told := [f"{lost} frames are damaged"] * bool(lost) + [ended] * bool(ended):
        raise Damaged(f"{footage}: {'; '.join(told)}", lost)


def at_rate(pictures: Iterator[DecodedFrame], fps: float | None, rate: float) -> Iterator[DecodedFrame]:
    """The pictures nearest to the ticks of a clock of `fps` that starts anew with each shot; None = all of them.

    A long step in time begins another shot, unless nothing moved meanwhile: recorders of screens leave out what does
    not change. Long is what exceeds HOLE / `rate` and MISSED ticks. Ticks that no picture was near to are left out.

    Args:
        pictures: of a file, in order.
        fps: ticks per second, at most about `rate`.
        rate: of the file, frames per second.
    """
    before: DecodedFrame | None = None
    start, ticks, holes = 0.0, 0, 0
    longest = max(HOLE / rate, MISSED / fps if fps else 0.0)
    for picture in pictures:
        hole = before is not None and _hole(before, picture, longest)
        if before is None or hole or picture.shot != before.shot:
            start, ticks, holes = picture.time, 0, holes + hole
        before = picture
        # Half a frame early is nearer than half a frame late.
        passed = 0.0 if fps is None else (picture.time - start + 0.5 / rate) * fps
        if fps is None or passed >= ticks:
            yield picture._replace(shot=picture.shot + holes)
            ticks = max(ticks, floor(passed)) + 1


def _hole(before: DecodedFrame, after: DecodedFrame, longest: float) -> bool:
    """Whether the step from one picture to the next ends the take: s, at most `longest` where something moves."""
    step = after.time - before.time
    if step <= longest:
        return False
    return step > max(PAUSE, longest) or moving_share(np.stack([before.image, after.image])) > STILL


def moving_share(images: UInt8[np.ndarray, "t h w c"]) -> float:
    """Share of the pixels of which some channel changes by MOVED levels or more within the clip, 0..1."""
    change = images.max(0) - images.min(0)
    return float((change.max(-1) >= MOVED).mean())


def difference(a: UInt8[np.ndarray, "h w c"], b: UInt8[np.ndarray, "h w c"]) -> float:
    """How unlike two neighbouring frames are, 0..2: mean difference of coarse pictures + distance of histograms.

    Either alone is fooled: a large object that passes changes the places, a flash of light the histogram. In street
    and film clips of 48 to 640 pixels motion reaches 0.27, cuts begin at about 0.5.
    """
    places = np.abs(_coarse(a) - _coarse(b)).mean() / 255
    colours = np.abs(_histogram(a) - _histogram(b)).sum() / (2 * a.size)
    return float(places + colours)


def _coarse(image: UInt8[np.ndarray, "h w c"]) -> Float32[np.ndarray, "rows columns c"]:
    h, w, c = image.shape
    y, x = max(1, h // BINS), max(1, w // BINS)
    whole = image[: h // y * y, : w // x * x]
    means: Float32[np.ndarray, "rows columns c"] = whole.reshape(h // y, y, w // x, x, c).mean(
        (1, 3), np.float32
    )
    return means


def _histogram(image: UInt8[np.ndarray, "h w c"]) -> Int64[np.ndarray, "bins"]:
    channel = np.arange(image.shape[-1]) * BINS
    return np.bincount((image // (256 // BINS) + channel).ravel(), minlength=BINS * image.shape[-1])


def _of_folder(folder: PictureFolder) -> Iterator[StoredFrame]:
    for index, joined in enumerate(folder.joined):
        image = folder.read(index)
        frame = None if image is None else VideoFrame.from_ndarray(image, format="rgb24")
        yield StoredFrame(frame, index / folder.rate, joined)
