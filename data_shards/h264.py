"""Frames as h264 in an mp4. A file of its own, since FFmpeg takes long to load and most sets are lossless."""

import io
from fractions import Fraction
from threading import local

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from data_shards.clip import Array

# Red, green, blue to luma and the two differences of colour, all of range 255.
BT601 = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
)
# With crf 15 frames of 64 pixels are within 38 dB of their source in every video tried, with 18 down to 36; a quarter
# more bytes. Without mbtree: with it x264 gives frames of a few macroblocks other bytes at each call (seen in 1 of 3).
H264 = {"crf": "15", "preset": "medium", "x264-params": "mbtree=0"}

_thread = local()  # converters keep state: one per thread


def encode_h264(frames: Array) -> bytes:
    """mp4 of frames (t h w c) at 25 fps: time is in the facts.

    Full range without chroma subsampling: limited range costs 20 dB against the original bytes, and half the
    chroma of a small frame is half of its colour. Grey is stored as luma with flat chroma, marked "grey".
    """
    _, height, width, channels = frames.shape
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        container.metadata["comment"] = "grey" if channels == 1 else "rgb"
        stream = container.add_stream("libx264", rate=25, options=dict(H264))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj444p"
        stream.codec_context.thread_count = 1  # with more, bytes depend on the machine
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(_planes(image), format="yuvj444p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _planes(image: Array) -> Array:
    """(3 h w) luma and chroma of BT.601, full range.

    Not by libswscale, whose rounding depends on where the image lies in memory: shards are named by their bytes.
    """
    if image.shape[-1] == 1:
        flat = np.full(image.shape[:2], 128, np.uint8)
        return np.stack([image[..., 0], flat, flat])
    planes: NDArray[np.float64] = np.einsum("yc,hwc->yhw", BT601, image.astype(np.float64))
    planes[1:] += 128
    return planes.round().clip(0, 255).astype(np.uint8)


def decode_h264(data: bytes | memoryview, shape: tuple[int, ...]) -> Array:
    """Frames (t h w c) of `encode_h264`; ValueError where the bytes are damaged, or are frames of another `shape`."""
    if not hasattr(_thread, "reformatter"):
        _thread.reformatter = VideoReformatter()
    try:
        images = _images(data, *shape)
    except (av.FFmpegError, EOFError) as error:
        raise ValueError(str(error)) from error
    if not images:
        raise ValueError("no frames")
    return np.stack(images)


def _images(data: bytes | memoryview, frames: int, height: int, width: int, channels: int) -> list[Array]:
    images: list[Array] = []
    # A frame of more pixels is refused by the decoder, before it makes room for one; 16 is a macroblock's side.
    most = {"max_pixels": str((height + 16) * (width + 16))}
    with av.open(io.BytesIO(data), format="mp4", stream_options=[most]) as container:
        told = 1 if container.metadata.get("comment") == "grey" else 3
        if told != channels or len(container.streams) != 1 or not container.streams.video:
            raise ValueError(f"no video alone of {channels} channels")
        stream = container.streams.video[0]
        if stream.codec_context is None or stream.codec_context.name != "h264":
            raise ValueError("is no h264")
        stream.codec_context.options = most
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if (frame.height, frame.width) != (height, width) or len(images) == frames:
                raise ValueError(f"has other frames than {frames} of {height} x {width}")
            if frame.format.name not in ("yuvj444p", "yuv444p"):
                raise ValueError(f"has frames of {frame.format.name}, not yuvj444p")
            if channels == 3:
                # One converter for all: a new one per frame takes ten times as long.
                frame = _thread.reformatter.reformat(frame, format="rgb24")
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
            images.append(rows[:, : frame.width * channels].reshape(frame.height, frame.width, channels))
    return images
