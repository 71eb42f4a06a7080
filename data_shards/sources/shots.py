"""Decoding of one video file into small pictures, numbered by shot: the quirks of decoders end here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from jaxtyping import Float32, Int64, UInt8

from data_shards.sources.footage import Footage

Fit = Literal["crop", "stretch"]
BINS = 16  # of the histograms, and places along each side, by which cuts are found


class Damaged(Exception):
    """Frames of a file are damaged, or its rest cannot be decoded; raised after the last good frame."""


class Picture(NamedTuple):
    """A frame of a file. Pictures of one `shot` are neighbours in one take; nothing else may go into a clip."""

    image: UInt8[np.ndarray, "size size c"]
    number: int  # of the decoded frame, from 0
    time: float  # seconds
    shot: int


@dataclass(frozen=True)
class Extent:
    """What a file's packets say, without decoding. A decoder may give a frame or two less."""

    packets: int
    rate: float  # frames per second


def measure(footage: Footage) -> Extent:
    """Count the packets: headers lie about the number of frames.

    Raises:
        ValueError: not a video.
        StorageError: the store refuses.
    """
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


def decode(footage: Footage, size: int, fit: Fit, grey: bool, cut: float) -> Iterator[Picture]:
    """All frames of the first video stream.

    Args:
        footage: the file.
        size: of the square pictures.
        fit: "crop" takes the centre square, "stretch" squeezes the whole frame.
        grey: one channel instead of RGB.
        cut: threshold of `difference` between two takes.

    Raises:
        ValueError: not a video, or not one frame of it can be decoded.
        StorageError: the store refuses.
        Damaged: some frames were left out, or the rest cannot be decoded. Raised in the end.
    """
    count, damaged, shot, time = 0, 0, 0, -np.inf
    before: UInt8[np.ndarray, "size size c"] | None = None
    with footage.open() as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # with more, how much of a damaged file is seen depends on luck
        rate = _rate(stream)
        converter = VideoReformatter()  # one for all frames: a new one for each takes ten times as long
        try:
            for index, frame in enumerate(container.decode(stream)):
                if frame.is_corrupt:
                    before, damaged = None, damaged + 1
                    continue
                image = _picture(frame, converter, size, fit, grey)
                if count and (before is None or difference(before, image) > cut):
                    shot += 1
                # Presentation times may be absent or run backwards (h264 in AVI): then a frame follows the last.
                shown = -np.inf if frame.time is None else frame.time
                time = shown if shown > time else time + 1 / rate if count else 0.0
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
        # Decoders hide damage, and resume after it in silence. Packed AVI files are one or two frames short anyway.
        if count < 0.95 * stream.frames - 2:
            raise Damaged(f"{footage}: has {count} of the {stream.frames} frames that its header says")


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


def _picture(
    frame: VideoFrame, converter: VideoReformatter, size: int, fit: Fit, grey: bool
) -> UInt8[np.ndarray, "size size c"]:
    w, h = frame.width, frame.height
    if fit == "crop":
        scale = size / min(w, h)
        w, h = max(size, round(w * scale)), max(size, round(h * scale))
    else:
        w = h = size
    # "area" averages every source pixel once; enlarging, it would repeat them.
    way = "AREA" if size <= min(frame.width, frame.height) else "BICUBIC"
    small = converter.reformat(frame, w, h, format="gray" if grey else "rgb24", interpolation=way)
    image = small.to_ndarray().reshape(h, w, -1)
    top, left = (h - size) // 2, (w - size) // 2
    # Phones store pictures sideways and say so beside them.
    turned = np.rot90(image[top : top + size, left : left + size], round(frame.rotation / 90))
    return np.ascontiguousarray(turned)


def _rate(stream: "av.VideoStream") -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)
