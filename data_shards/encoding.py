"""A Clip as named members of a tar sample, and back.

`json` holds the key and the facts, `<field>.npy.zst` an array, losslessly; frames of real video may be `frames.mp4`
(h264). Decoders are an explicit table by extension: nothing is ever unpickled.
"""

import io
import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from threading import local
from typing import Any

import av
import numpy as np
import zstandard
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from data_shards.clip import FIELDS, Array, Clip

VIDEO_ENCODINGS = ("lossless", "h264")
# Red, green, blue to luma and the two differences of colour, all of range 255.
BT601 = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
)
# Without mbtree: with it x264 gives frames of a few macroblocks other bytes at each call (seen in 1 of 3).
H264 = {"crf": "18", "preset": "medium", "x264-params": "mbtree=0"}

_thread = local()  # (de)compressors keep state: one per thread


class DecodeError(ValueError):
    """A member is not what its name says."""


def encode(clip: Clip, video_encoding: str = "lossless") -> dict[str, bytes]:
    """The members of a clip by name.

    Args:
        clip: to encode.
        video_encoding: of its frames: "lossless", or "h264" (crf 18, full range, about 40 dB; no audio).

    Raises:
        ValueError: a field has another number type than Clip says, or facts are not JSON.
    """
    if video_encoding not in VIDEO_ENCODINGS:
        raise ValueError(f"video_encoding {video_encoding!r} must be one of {', '.join(VIDEO_ENCODINGS)}")
    try:
        facts = json.dumps({"key": clip.key, "facts": clip.facts}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"clip {clip.key}: facts are not JSON: {error}") from error
    members = {"json": facts.encode()}
    for name, field in FIELDS.items():
        array = getattr(clip, name)
        if array is None:
            continue
        if array.dtype != field.dtype:
            raise ValueError(f"clip {clip.key}: {name} are {array.dtype}, not {field.dtype}")
        if name == "frames" and video_encoding == "h264":
            members["frames.mp4"] = encode_h264(array)
        else:
            members[f"{name}.npy.zst"] = encode_array(array)
    return members


def decode(key: str, members: Mapping[str, bytes]) -> Clip:
    """The clip of a sample's members; DecodeError (with the member's name) where one is damaged."""
    fields: dict[str, Any] = {}
    for name, data in members.items():
        field, value = decode_member(name, data)
        fields[field] = value
    facts = fields.pop("json", {}).get("facts", {})
    if "frames" not in fields:
        raise DecodeError(f"sample {key}: no frames")
    return Clip(key=key, facts=facts, **fields)


def decode_member(name: str, data: bytes | memoryview) -> tuple[str, Any]:
    """(field, value) of the member `name`, such as "frames.npy.zst"; field "json" has the facts."""
    field, _, extension = name.partition(".")
    decoder = DECODERS.get(extension)
    if field == "json" and not extension:
        decoder = _decode_json
    if decoder is None:
        raise DecodeError(f"{name}: no decoder for this extension, only for {', '.join(DECODERS)}")
    try:
        return field, decoder(data)
    except (ValueError, zstandard.ZstdError, av.FFmpegError, EOFError) as error:
        raise DecodeError(f"{name}: {error}") from error


def encode_array(array: Array) -> bytes:
    """Compress as npy with zstd 3: a fifth to a thirtieth of synthetic frames, and decodes as fast as raw."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
    if not hasattr(_thread, "compressor"):
        _thread.compressor = zstandard.ZstdCompressor(level=3)
    packed: bytes = _thread.compressor.compress(buffer.getvalue())
    return packed


def decode_array(data: bytes | memoryview) -> Array:
    """The array of `encode_array`; not writable."""
    if not hasattr(_thread, "decompressor"):
        _thread.decompressor = zstandard.ZstdDecompressor()
    raw: bytes = _thread.decompressor.decompress(data)
    start = 10 + int.from_bytes(raw[8:10], "little")
    shape, dtype = _npy_header(raw[:start])
    if len(raw) - start != dtype.itemsize * int(np.prod(shape)):
        raise ValueError(f"{len(raw) - start} bytes do not make an array of shape {shape}")
    return np.frombuffer(raw, dtype, offset=start).reshape(shape)


@lru_cache(maxsize=256)
def _npy_header(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and number type; parsing takes longer than decompressing, and a set has a handful of headers."""
    file = io.BytesIO(header)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("npy of another version than 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran or dtype.hasobject:
        raise ValueError("npy with Fortran order or Python objects")
    return shape, dtype


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


def decode_h264(data: bytes | memoryview) -> Array:
    """Frames (t h w c) of `encode_h264`."""
    if not hasattr(_thread, "reformatter"):
        _thread.reformatter = VideoReformatter()
    images = []
    with av.open(io.BytesIO(data), format="mp4") as container:
        channels = 1 if container.metadata.get("comment") == "grey" else 3
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if channels == 3:
                # One converter for all: a new one per frame takes ten times as long.
                frame = _thread.reformatter.reformat(frame, format="rgb24")
            plane = frame.planes[0]
            rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
            images.append(rows[:, : frame.width * channels].reshape(frame.height, frame.width, channels))
    if not images:
        raise ValueError("no frames")
    return np.stack(images)


def _decode_json(data: bytes | memoryview) -> dict[str, Any]:
    tree = json.loads(bytes(data))
    if not isinstance(tree, dict):
        raise ValueError("not a JSON object")
    return tree


DECODERS: dict[str, Callable[[bytes | memoryview], Any]] = {"npy.zst": decode_array, "mp4": decode_h264}
