"""The frames of one video file, packet by packet: what is broken, hidden, cut short or without a time ends here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data_shards.mistake import UserError
from data_shards.sources.container import best_stream
from data_shards.sources.footage import Video

PAUSE = 2.0  # seconds; a longer step in time ends a take even if nothing moves
UNEVEN = 0.9  # of the usual rate: below, frames are not evenly spaced
RETRIES = 16  # times that a file is read on behind a place that cannot be read


class Damaged(Exception):
    """Frames of a file are damaged, or its rest cannot be decoded; raised after the last good frame."""

    def __init__(self, reason: str, lost: int = 0) -> None:
        super().__init__(reason)
        self.lost = lost  # frames


class StoredFrame(NamedTuple):
    """What a file or a folder of pictures gives one after the other."""

    frame: VideoFrame | None  # None: lost, since it or what it is built on is damaged
    time: float  # seconds
    joined: bool = True  # may belong to the take of the frame before
    aspect: float = 1.0  # width of a pixel / its height, as shown


@dataclass(frozen=True)
class Extent:
    """What a file's packets or a folder's pictures say. A decoder may give a frame or two less."""

    packets: int  # that are shown: edit lists hide some
    rate: float  # frames per second: 1 / the median interval, which holes and slow stretches leave as it is
    pace: float  # the mean of the same without pauses: below `rate` where frames are few while nothing moves


def measure_file(footage: Video) -> Extent:
    """Count the packets: headers lie about the number of frames. The first good frame is decoded, as a proof.

    Raises:
        UserError: not a video, or no frame of it can be decoded.
        StorageError: the store refuses.
    """
    with footage.open() as container:
        film = _Film(container)
        stamps: list[int | None] = []  # of each packet that is shown
        decoded, reason = False, ""
        for packet in film.packets():
            if packet is None:
                stamps.append(None)
                continue
            if not packet.is_discard:
                stamps.append(packet.dts if packet.pts is None else packet.pts)
            if not decoded:
                try:
                    decoded = any(not frame.is_corrupt for frame in packet.decode())
                except av.FFmpegError as error:
                    reason = f" ({error})"
        if not stamps:
            raise UserError(f"{footage}: has no video frames")
        if not decoded and not film.drain():
            raise UserError(f"{footage}: no frame can be decoded{reason or film.ended}")
        # Where reading ended early, decoding tells how far it goes.
        length = max(len(stamps), film.whole) if film.ended else len(stamps)
        return Extent(length, *_measured_rate(film.stream, stamps))


def file_frames(footage: Video) -> Iterator[StoredFrame]:
    """The frames of a file in the order shown, those that are lost among them.

    Raises:
        UserError: not a video.
        StorageError: the store refuses.
        Damaged: in the end, if there are fewer than its header says or some of it could not be read.
    """
    with footage.open() as container:
        film = _Film(container)
        rate, time, count = _told_rate(film.stream), -np.inf, 0
        aspect = float(film.stream.sample_aspect_ratio or 1)
        for frame in _sound(film.frames()):
            count += 1
            if frame is None:
                yield StoredFrame(None, time)
                continue
            # Presentation times may be absent or run backwards (h264 in AVI): then a frame follows the last.
            shown = -np.inf if frame.time is None else frame.time
            time = shown if shown > time else max(time + 1 / rate, 0.0)
            yield StoredFrame(frame, time, aspect=aspect)
        # Files that were cut short end in silence. Packed AVI files are one or two frames short anyway.
        if film.ended or 0 < count < 0.95 * film.whole - 2:
            raise Damaged(f"ends after {count} of the {film.whole} frames that its header says{film.ended}")


def _sound(frames: Iterator[VideoFrame | None]) -> Iterator[VideoFrame | None]:
    """The same, with None for the damaged, and from there on until the next key frame: they are built on it.

    Until a first key frame is whole, only for the damaged: such files would give nothing.
    """
    broken = whole = False
    for frame in frames:
        broken = frame is None or frame.is_corrupt or (broken and whole and not frame.key_frame)
        whole = whole or bool(frame is not None and frame.key_frame and not broken)
        yield None if broken else frame


class _Film:
    """One reading of an open file: its best stream, from its beginning to where it ends."""

    def __init__(self, container: InputContainer) -> None:
        stream = best_stream(container)
        assert stream is not None  # seen when the file was opened
        stream.codec_context.thread_count = 1  # with more, how much of a damaged file is seen depends on luck
        self._container, self.stream = container, stream
        self.ended = ""  # why, if some of it could not be read
        # Frames that are shown, if the header tells; an mp4's also tells of those that its edit list leaves out. What
        # the list hides is taken off as it comes.
        listed = len(stream.index_entries) if "mp4" in container.format.name else 0
        self.whole = min(stream.frames, listed or stream.frames)

    def packets(self) -> Iterator[av.Packet | None]:
        """Those that have data; None for each that cannot be read."""
        failures = 0
        while failures <= RETRIES:
            try:
                for packet in self._container.demux(self.stream):
                    if packet.size:
                        failures, self.whole = 0, self.whole - packet.is_discard
                        yield packet
                return
            except (av.FFmpegError, OSError) as error:
                failures, self.ended = failures + 1, f" ({error})"
                yield None

    def frames(self) -> Iterator[VideoFrame | None]:
        """What the decoder makes of the packets; None for each that it refuses, and from there to a key frame."""
        gap: list[tuple[float, VideoFrame | None]] | None = None  # stamps and frames, since it refused one
        for packet in self.packets():
            if packet is not None and not packet.is_corrupt and (gap is None or packet.is_keyframe):
                yield from _in_order(gap)
                gap = None
                try:
                    yield from packet.decode()
                    continue
                except av.FFmpegError:
                    pass
            if gap is None:
                gap = [(-np.inf if frame.pts is None else frame.pts, frame) for frame in self.drain()]
            if packet is None or not packet.is_discard:
                gap.append((np.inf if packet is None or packet.pts is None else packet.pts, None))
        yield from _in_order(gap)
        yield from self.drain()

    def drain(self) -> list[VideoFrame]:
        """The good frames that the decoder still holds; afterwards it is ready for a key frame."""
        flush = av.Packet()
        flush.time_base = self.stream.time_base
        try:
            frames = self.stream.codec_context.decode(flush)
        except av.FFmpegError:
            frames = []
        self.stream.codec_context.flush_buffers()
        return [frame for frame in frames if not frame.is_corrupt]


def _in_order(gap: list[tuple[float, VideoFrame | None]] | None) -> Iterator[VideoFrame | None]:
    """The frames in the order of their stamps: one that is lost may be shown before one that was decoded."""
    yield from (frame for _, frame in sorted(gap or (), key=lambda place: place[0]))


def _told_rate(stream: VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _measured_rate(stream: VideoStream, stamps: Sequence[int | None]) -> tuple[float, float]:
    """Frames per second, usual and mean: the header's, unless the median interval of the `stamps` is another one."""
    steps = np.diff(sorted({stamp for stamp in stamps if stamp is not None}))
    told = _told_rate(stream)
    if not len(steps):
        return told, told
    usual, unit = float(np.median(steps)), float(stream.time_base or 1)
    # Stamps are rounded to whole units: a difference below one is no difference.
    rate = told if abs(1 / (told * unit) - usual) < 1 else 1 / (usual * unit)
    pace = float(1 / (steps[steps * unit <= PAUSE].mean() * unit)) if usual * unit <= PAUSE else rate
    return rate, pace if pace < UNEVEN * rate else rate
