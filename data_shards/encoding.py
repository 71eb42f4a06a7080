"""A Clip as named members of a tar sample, and back.

`json` holds the key and the facts, `<field>.npy.zst` an array, losslessly; frames of real video may be `frames.mp4`
(h264, see h264.py). Decoders are an explicit table by extension: nothing is ever unpickled.
"""

import io
import json
from collections.abc import Callable, Mapping
from threading import local
from typing import Any

import numpy as np
import zstandard

from data_shards.clip import FIELDS, Array, Clip
from data_shards.npy import read_npy

VIDEO_ENCODINGS = ("lossless", "h264")
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
            from data_shards.h264 import encode_h264  # loads FFmpeg: not for sets without such frames

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
    except (ValueError, zstandard.ZstdError, EOFError) as error:
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
    return read_npy(raw)


def _decode_json(data: bytes | memoryview) -> dict[str, Any]:
    tree = json.loads(bytes(data))
    if not isinstance(tree, dict):
        raise ValueError("not a JSON object")
    return tree


def _decode_mp4(data: bytes | memoryview) -> Array:
    from data_shards.h264 import decode_h264  # loads FFmpeg: not for sets without such frames

    return decode_h264(data)


DECODERS: dict[str, Callable[[bytes | memoryview], Any]] = {"npy.zst": decode_array, "mp4": _decode_mp4}
