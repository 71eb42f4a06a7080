"""Clips survive their encodings; nothing hostile is executed."""

import io
import pickle
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data_shards.clip import FIELDS, Clip
from data_shards.encoding import (
    DecodeError,
    decode,
    decode_array,
    decode_member,
    encode,
    encode_array,
)
from tests.clips import Numbered


def moving_square(channels: int, size: int = 64) -> np.ndarray:
    """A bright square that moves over a smooth gradient."""
    frames = np.zeros((8, size, size, channels), np.uint8)
    frames[:] = np.linspace(20, 120, size).astype(np.uint8)[:, None]
    for t, frame in enumerate(frames):
        frame[20:40, 5 + 3 * t : 25 + 3 * t] = [240, 80, 10][:channels]
    return frames


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("truth", [False, True])
def test_lossless_clips_come_back(channels: int, truth: bool) -> None:
    clip = Numbered(channels=channels, truth=truth).clip("train", 4, 0)
    members = encode(clip)
    assert list(members)[:2] == ["json", "frames.npy.zst"]
    back = decode(clip.key, members)
    assert (back.key, back.facts) == (clip.key, clip.facts)
    for name, field in FIELDS.items():
        wanted, got = getattr(clip, name), getattr(back, name)
        if wanted is None:
            assert got is None
        else:
            assert got.dtype == field.dtype
            np.testing.assert_array_equal(got, wanted)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int32, np.float32]),
        hnp.array_shapes(min_dims=0, max_dims=5, min_side=0),
    )
)
def test_arrays_come_back(array: np.ndarray) -> None:
    back = decode_array(encode_array(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_arrays_are_plain_npy_inside() -> None:
    """numpy alone reads what zstd unpacks."""
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    raw = zstandard.ZstdDecompressor().decompress(encode_array(array))
    np.testing.assert_array_equal(np.load(io.BytesIO(raw), allow_pickle=False), array)


@pytest.mark.parametrize(("channels", "least"), [(1, 42.0), (3, 38.0)])
@pytest.mark.parametrize("size", [64, 63])
def test_h264_is_small_and_close(channels: int, least: float, size: int) -> None:
    frames = moving_square(channels, size)
    members = encode(Clip("a", frames), "h264")
    assert list(members) == ["json", "frames.mp4"]
    assert members == encode(Clip("a", frames), "h264")  # shards are named by their content
    assert len(members["frames.mp4"]) < frames.size / 5
    back = decode("a", members).frames
    assert back.shape == frames.shape
    error = np.mean((back.astype(float) - frames) ** 2)
    assert 10 * np.log10(255**2 / error) > least
    assert abs(np.mean(back.astype(float) - frames)) < 1.0  # the range of values is kept


class Exploit:
    """Says on unpickling that it was unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a payload was unpickled",))


def test_nothing_is_unpickled() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Exploit()], object), allow_pickle=True)
    hostile = zstandard.ZstdCompressor().compress(buffer.getvalue())
    with pytest.raises(DecodeError, match=r"frames.npy.zst"):
        decode_member("frames.npy.zst", hostile)
    for name in ("frames.pkl", "frames.pickle", "frames.pth", "frames.pyd", "frames.npy", "pkl", "frames"):
        with pytest.raises(DecodeError, match="no decoder"):
            decode_member(name, pickle.dumps(Exploit()))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("frames.npy.zst", b""),
        ("frames.npy.zst", b"not zstd"),
        ("frames.npy.zst", zstandard.ZstdCompressor().compress(b"not npy at all, but long enough")),
        ("frames.npy.zst", zstandard.ZstdCompressor().compress(b"")),
        ("frames.npy.zst", encode_array(np.zeros((5, 5)))[:-3]),
        ("frames.mp4", b"not mp4"),
        ("frames.mp4", encode(Clip("a", moving_square(3)), "h264")["frames.mp4"][:300]),
        ("json", b"{"),
        ("json", b"[1]"),
        ("json", b"\xff\xfe"),
    ],
)
def test_damaged_members_are_named(name: str, data: bytes) -> None:
    with pytest.raises(DecodeError, match=name):
        decode_member(name, data)


def test_arrays_of_the_wrong_length_are_refused() -> None:
    raw = zstandard.ZstdDecompressor().decompress(encode_array(np.zeros((4, 4), np.uint8)))
    with pytest.raises(DecodeError, match="15 bytes"):
        decode_member("frames.npy.zst", zstandard.ZstdCompressor().compress(raw[:-1]))


def test_a_sample_without_frames_is_damaged() -> None:
    members = encode(Numbered().clip("train", 0, 0))
    with pytest.raises(DecodeError, match="sample a: no frames"):
        decode("a", {"json": members["json"]})


def test_bad_clips_are_named() -> None:
    frames = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(ValueError, match="clip x: facts are not JSON"):
        encode(Clip("x", frames, facts={"bad": {1, 2}}))
    with pytest.raises(ValueError, match="clip x: facts are not JSON"):
        encode(Clip("x", frames, facts={"bad": float("nan")}))
    with pytest.raises(ValueError, match=r"video_encoding 'gif' must be one of lossless, h264"):
        encode(Clip("x", frames), "gif")
