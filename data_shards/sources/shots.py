"""Decoding of one video into small pictures, numbered by shot: the quirks of decoders end here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from jaxtyping import Float32, Int64, UInt8

from data_shards.sources.footage import Footage, Recording
from data_shards.sources.picture_folder import PictureFolder

Fit = Literal["crop", "stretch"]
BINS = 16  # of the histograms, and places along each side, by which cuts are found


class Damaged(Exception):
    """Frames of a file are damaged, or its rest cannot be decoded; raised after the last good frame."""


class Picture(NamedTuple):
    """A frame of a file. Pictures of one `shot` are neighbours in one take; nothing else may go into a clip."""

    image: UInt8[np.ndarray, "h w c"]
    number: int  # of the decoded frame, from 0
    time: float  # seconds
    shot: int


@dataclass(frozen=True)
class Extent:
    """What a file's packets or a folder's pictures say, without decoding. A decoder may give a frame or two less."""

    packets: int
    rate: float  # frames per second


def measure(footage: Recording) -> Extent:
    """Count the packets: headers lie about the number of frames.

    Raises:
        ValueError: not a video, or pictures that do not fit together.
        StorageError: the store refuses.
    """
    if isinstance(footage, PictureFolder):
        footage.check()
        return Extent(len(footage.files), footage.rate)
    with footage.open() as container:
        stream = container.streams.video[0]
        packets = 0
        try:
            packets = sum(1 for packet in container.demux(stream) if packet.size)
        except av.FFmpegError:
            packets = max(packets, stream.frames)  # a file cut short: decoding tells how far it goes
        if not packets:
            raise ValueError(f"{footage}: has no video frames")
        return Extent(packets, _rate(stream))


def decode(footage: Recording, shape: tuple[int, int], fit: Fit, grey: bool, cut: float) -> Iterator[Picture]:
    """All frames of the first video stream, or of the pictures of a folder.

    Args:
        footage: the file or folder.
        shape: height and width of the pictures.
        fit: "crop" takes the largest centre part of that shape, "stretch" squeezes the whole frame.
        grey: one channel instead of RGB.
        cut: threshold of `difference` between two takes.

    Raises:
        ValueError: not a video, or not one frame of it can be decoded.
        StorageError: the store refuses.
        Damaged: some frames were left out, or the rest cannot be decoded. Raised in the end.
    """
    count, damaged, shot = 0, 0, 0
    before: UInt8[np.ndarray, "h w c"] | None = None
    converter = VideoReformatter()  # one for all frames: a new one for each takes ten times as long
    source = _of_folder(footage) if isinstance(footage, PictureFolder) else _of_file(footage)
    try:
        for index, (frame, time, joined) in enumerate(source):
            if frame is None:
                before, damaged = None, damaged + 1
                continue
            image = _picture(frame, converter, shape, fit, grey)
            if count and (before is None or not joined or difference(before, image) > cut):
                shot += 1
            yield Picture(image, index, time, shot)
            before, count = image, count + 1
    except (av.FFmpegError, OSError) as error:
        if count:
            raise Damaged(f"{footage}: after frame {count - 1}: {error}") from error
        raise ValueError(f"{footage}: no frame can be decoded ({error})") from error
    if not count:
        raise ValueError(f"{footage}: no frame can be decoded")
    if damaged:
        raise Damaged(f"{footage}: {damaged} frames are damaged")


def at_rate(pictures: Iterator[Picture], fps: float | None, rate: float) -> Iterator[Picture]:
    """The pictures nearest to the ticks of a clock of `fps` that starts anew with each shot; None = all of them.

    Args:
        pictures: of a file, in order.
        fps: ticks per second, at most about `rate`.
        rate: of the file, frames per second.
    """
    shot, start, ticks = -1, 0.0, 0
    for picture in pictures:
        if picture.shot != shot:
            shot, start, ticks = picture.shot, picture.time, 0
        # Half a frame early is nearer than half a frame late.
        if fps is None or picture.time - start + 0.5 / rate >= ticks / fps:
            yield picture
            ticks += 1


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


class _Frame(NamedTuple):
    """What a source gives one after the other."""

    frame: VideoFrame | None  # None: damaged
    time: float
    joined: bool = True  # may belong to the take of the frame before


def _of_file(footage: Footage) -> Iterator[_Frame]:
    """The frames of a file; Damaged in the end if there are fewer than its header says."""
    with footage.open() as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # with more, how much of a damaged file is seen depends on luck
        rate, time, count = _rate(stream), -np.inf, 0
        for frame in container.decode(stream):
            count += 1
            if frame.is_corrupt:
                yield _Frame(None, time)
                continue
            # Presentation times may be absent or run backwards (h264 in AVI): then a frame follows the last.
            shown = -np.inf if frame.time is None else frame.time
            time = shown if shown > time else max(time + 1 / rate, 0.0)
            yield _Frame(frame, time)
        # Decoders hide damage, and resume after it in silence. Packed AVI files are one or two frames short anyway.
        if 0 < count < 0.95 * stream.frames - 2:
            raise Damaged(f"{footage}: has {count} of the {stream.frames} frames that its header says")


def _of_folder(folder: PictureFolder) -> Iterator[_Frame]:
    for index, joined in enumerate(folder.joined):
        image = folder.read(index)
        frame = None if image is None else VideoFrame.from_ndarray(image, format="rgb24")
        yield _Frame(frame, index / folder.rate, joined)


def _picture(
    frame: VideoFrame, converter: VideoReformatter, shape: tuple[int, int], fit: Fit, grey: bool
) -> UInt8[np.ndarray, "h w c"]:
    turns = round(frame.rotation / 90)
    # Phones store pictures sideways and say so beside them.
    height, width = shape[::-1] if turns % 2 else shape
    w, h = width, height
    if fit == "crop":
        scale = max(width / frame.width, height / frame.height)
        w, h = max(w, round(frame.width * scale)), max(h, round(frame.height * scale))
    # "area" averages every source pixel once; enlarging, it would repeat them.
    way = "AREA" if w <= frame.width and h <= frame.height else "BICUBIC"
    small = converter.reformat(frame, w, h, format="gray" if grey else "rgb24", interpolation=way)
    image = small.to_ndarray().reshape(h, w, -1)
    top, left = (h - height) // 2, (w - width) // 2
    return np.ascontiguousarray(np.rot90(image[top : top + height, left : left + width], turns))


def _rate(stream: "av.VideoStream") -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)
