"""A Clip as named members of a tar sample, and back.

`json` holds the key and the facts, `<field>.npy.zst` an array, losslessly; frames of real video may be `frames.mp4`
(h264, see h264.py). Decoders are an explicit table by extension: nothing is ever unpickled. What a member may unpack to
is known from the set's manifest, and is asked before anything is allocated.
"""

import io
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from threading import local
from typing import Any

import numpy as np
import zstandard

from data_shards.clip import FIELDS, Array, Clip
from data_shards.npy import HEADER, read_npy
from data_shards.storage.document import parse_document, shortened

VIDEO_ENCODINGS = ("lossless", "h264")
FACTS_BYTES = 1 << 20  # of a clip's facts, at most
Sizes = Mapping[str, int]  # of the axes of a clip, at most: Manifest.sizes
_thread = local()  # (de)compressors keep state: one per thread


class DecodeError(ValueError):
    """A member is not what its name says."""


def encode(clip: Clip, video_encoding: str = "lossless") -> dict[str, bytes]:
    """The members of a clip by name.

    Args:
        clip: to encode.
        video_encoding: of its frames: "lossless", or "h264" (crf 15, full range, about 40 dB; no audio).

    Raises:
        ValueError: a field has another number type than Clip says, or facts are not JSON.
    """
    if video_encoding not in VIDEO_ENCODINGS:
        raise ValueError(f"video_encoding {video_encoding!r} must be one of {', '.join(VIDEO_ENCODINGS)}")
    try:
        facts = json.dumps({"key": clip.key, "facts": clip.facts}, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"clip {clip.key}: facts are not JSON: {error}") from error
    if len(facts) > FACTS_BYTES:
        raise ValueError(f"clip {clip.key}: facts are {len(facts)} bytes, at most {FACTS_BYTES} are stored")
    members = {"json": facts.encode()}
    for name, field in FIELDS.items():
        array = getattr(clip, name)
        if array is None:
            continue
        if array.dtype != field.dtype:
            raise ValueError(f"clip {clip.key}: {name} are {array.dtype}, not {field.dtype}")
        if name == "frames" and video_encoding == "h264":
            from data_shards.h264 import encode_h264  # loads FFmpeg: not for sets without such frames

            members["frames.mp4"] = encode_h264(array)
        else:
            members[f"{name}.npy.zst"] = encode_array(array)
    return members


def decode(key: str, members: Mapping[str, bytes | memoryview], sizes: Sizes) -> Clip:
    """The clip of a sample's members; DecodeError (with the member's name) where one is damaged."""
    fields: dict[str, Any] = {}
    for name, data in members.items():
        field, value = decode_member(name, data, sizes)
        if field in fields:
            raise DecodeError(f"sample {key}: {field} twice")
        fields[field] = value
    facts = fields.pop("json", {})
    if "frames" not in fields:
        raise DecodeError(f"sample {key}: no frames")
    return Clip(key=key, facts=facts, **fields)


def decode_member(name: str, data: bytes | memoryview, sizes: Sizes) -> tuple[str, Any]:
    """(field, value) of the member `name`, such as "frames.npy.zst"; field "json" has the facts.

    Raises:
        DecodeError: it is damaged, or no array of that field of a clip of `sizes`; found before more is allocated.
    """
    field, _, extension = name.partition(".")
    try:
        if name == "json":
            return field, _facts(data)
        if field not in FIELDS or extension not in DECODERS:
            raise ValueError(f"no decoder for this name and extension, only for {', '.join(DECODERS)}")
        dtype, shape, most = _most(field, tuple(sizes.items()))
        value = DECODERS[extension](data, shape, most)
        if value.dtype != dtype:
            raise ValueError(f"are {value.dtype}, not {dtype}")
        if value.shape != shape and not FIELDS[field].fits(value.shape, sizes):
            raise ValueError(f"has shape {value.shape}, the manifest says {shape}")
    except (ValueError, zstandard.ZstdError, EOFError) as error:
        raise DecodeError(f"{name}: {error}") from error
    return field, value


@lru_cache(maxsize=256)  # asked for each member of each sample
def _most(field: str, sizes: tuple[tuple[str, int], ...]) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Number type, largest shape and bytes of a field of a clip of `sizes`."""
    row = FIELDS[field]
    return row.dtype, row.shape(dict(sizes)), row.bytes(dict(sizes))


def packed_bytes(name: str, sizes: Sizes) -> int:
    """What the member `name` takes in a shard, at most: what cannot be packed is a little longer packed."""
    row = FIELDS.get(name.partition(".")[0])
    return FACTS_BYTES if row is None else 2 * row.bytes(sizes) + (64 << 10)


def encode_array(array: Array) -> bytes:
    """Compress as npy with zstd 3: a fifth to a thirtieth of synthetic frames, and decodes as fast as raw."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
    if not hasattr(_thread, "compressor"):
        _thread.compressor = zstandard.ZstdCompressor(level=3)
    packed: bytes = _thread.compressor.compress(buffer.getvalue())
    return packed


def decode_array(data: bytes | memoryview, most: int) -> Array:
    """The array of `encode_array`, of at most `most` bytes; not writable."""
    size = zstandard.frame_content_size(data)  # read from the first bytes; what comes out is held against it
    if not 0 <= size <= most + HEADER:
        raise ValueError(f"unpacks to {size if size >= 0 else 'untold'} bytes, at most {most} are read")
    if not hasattr(_thread, "decompressor"):
        _thread.decompressor = zstandard.ZstdDecompressor()
    raw: bytes = _thread.decompressor.decompress(data)
    return read_npy(raw)


def _facts(data: bytes | memoryview) -> dict[str, Any]:
    facts = parse_document(data, FACTS_BYTES).get("facts", {})
    if not isinstance(facts, dict):
        raise ValueError(f"facts are {shortened(repr(facts))}, no object")
    return facts


def _decode_npy(data: bytes | memoryview, shape: tuple[int, ...], most: int) -> Array:
    return decode_array(data, most)


def _decode_mp4(data: bytes | memoryview, shape: tuple[int, ...], most: int) -> Array:
    from data_shards.h264 import decode_h264  # loads FFmpeg: not for sets without such frames

    return decode_h264(data, shape)


DECODERS: dict[str, Callable[[bytes | memoryview, tuple[int, ...], int], Array]] = {
    "npy.zst": _decode_npy,
    "mp4": _decode_mp4,
}
