"""Opening of video: what a file or the bytes of one hold, and which of its streams is the film."""

import io
import re
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from data_shards.mistake import UserError

EXTENSIONS = (
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mkv",
    ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob",
    ".webm", ".wmv", ".y4m",
)  # fmt: skip
ASPECT = 64  # times that a pixel may be wider than high, or higher than wide: more is a damaged header
STUB = 200  # bytes that tell what a file is that is no video


def open_video(source: io.BytesIO | str, address: str) -> InputContainer:
    """A container with at least one video stream.

    Args:
        source: the bytes, or the absolute path of a file.
        address: what errors call it.

    Raises:
        UserError: not a video.
    """
    # Playlists name other files: those of a path may lie beside it, those of bytes are none of ours.
    reach = "file" if isinstance(source, str) else "none"
    try:
        # Names and comments in old AVI files are often not UTF-8, which is fatal by default.
        container: InputContainer = av.open(
            source, metadata_errors="replace", options={"protocol_whitelist": reach}
        )
    except (av.FFmpegError, OSError) as error:
        why = _stand_in(source) or f"cannot be opened as video ({error})"
        raise UserError(f"{address}: {why}") from error
    stream = best_stream(container)
    if stream is None:
        container.close()
        raise UserError(f"{address}: has no video in it")
    if stream.metadata.get("alpha_mode") == "1":  # a second stream in the packets, which decoders leave out
        container.close()
        raise UserError(f"{address}: keeps transparency as WebM does, which is not read; save it without")
    if why := _unusable(stream):
        container.close()
        raise UserError(f"{address}: {why}")
    return container


def _unusable(stream: VideoStream) -> str:
    """What its header says that cannot be shown; empty if it can."""
    if stream.codec_context is None:  # FFmpeg has no decoder of that name
        return "is of a codec that cannot be decoded here; convert it, such as by ffmpeg -i FILE FILE.mp4"
    ratio = stream.sample_aspect_ratio
    if ratio and not 1 / ASPECT <= ratio <= ASPECT:
        return f"has pixels {ratio} as wide as high by its header; set it right, such as by ffmpeg -aspect 16:9 -c copy"
    return ""


def best_stream(container: InputContainer) -> VideoStream | None:
    """The video stream that a player would show; None if there is none, for a cover is no video."""
    films = [
        stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic
    ]
    best = container.streams.best("video")
    return next((stream for stream in films if stream is best), films[0] if films else None)


def _stand_in(source: io.BytesIO | str) -> str:
    """What a file is that stands where a video should be; empty if that is not known."""
    try:
        head = (
            source.getvalue()[:STUB] if isinstance(source, io.BytesIO) else Path(source).read_bytes()[:STUB]
        )
    except OSError:
        return ""
    if not head:
        return "is empty"
    if head.startswith(b"version https://git-lfs") or b"annex/objects/" in head:
        return "is a pointer of Git LFS or git-annex, not the file itself; fetch it"
    is_path = len(head) < STUB and re.fullmatch(rb"[\x20-;=-\x7e]*/[\x20-;=-\x7e]*", head)
    return f"is a link that was copied as text, to {head.decode()}" if is_path else ""
