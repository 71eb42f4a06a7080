"""Clips survive their encodings; nothing hostile is executed."""

import io
import pickle
import tracemalloc
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
from tests.clips import Numbered, sizes_of

SIZES = {"t": 8, "h": 64, "w": 64, "c": 3, "n": 2}


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
    back = decode(clip.key, members, sizes_of(clip))
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
    back = decode_array(encode_array(array), array.nbytes)
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
    back = decode("a", members, sizes_of(Clip("a", frames))).frames
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
        decode_member("frames.npy.zst", hostile, SIZES)
    for name in ("frames.pkl", "frames.pickle", "frames.pth", "frames.pyd", "frames.npy", "pkl", "frames"):
        with pytest.raises(DecodeError, match="no decoder"):
            decode_member(name, pickle.dumps(Exploit()), SIZES)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("frames.npy.zst", b""),
        ("frames.npy.zst", b"not zstd"),
        ("frames.npy.zst", zstandard.ZstdCompressor().compress(b"not npy at all, but long enough")),
        ("frames.npy.zst", zstandard.ZstdCompressor().compress(b"")),
        ("frames.npy.zst", encode_array(np.zeros((8, 64, 64, 3), np.uint8))[:-3]),
        ("frames.npy.zst", encode_array(np.zeros((8, 64, 64, 3), np.int8))),
        ("frames.npy.zst", encode_array(np.zeros((8, 64, 64), np.uint8))),
        ("frames.npy.zst", encode_array(np.zeros((8, 64, 32, 6), np.uint8))),
        ("frames.mp4", b"not mp4"),
        ("frames.mp4", encode(Clip("a", moving_square(3)), "h264")["frames.mp4"][:300]),
        ("json", b"{"),
        ("json", b"[1]"),
        ("json", b"\xff\xfe"),
    ],
)
def test_damaged_members_are_named(name: str, data: bytes) -> None:
    with pytest.raises(DecodeError, match=name):
        decode_member(name, data, SIZES)


def test_arrays_of_the_wrong_length_are_refused() -> None:
    raw = zstandard.ZstdDecompressor().decompress(encode_array(np.zeros((4, 4), np.uint8)))
    with pytest.raises(DecodeError, match="15 bytes"):
        decode_member("frames.npy.zst", zstandard.ZstdCompressor().compress(raw[:-1]), SIZES)


def test_a_sample_without_frames_is_damaged() -> None:
    members = encode(Numbered().clip("train", 0, 0))
    with pytest.raises(DecodeError, match="sample a: no frames"):
        decode("a", {"json": members["json"]}, SIZES)


def test_bad_clips_are_named() -> None:
    frames = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(ValueError, match="clip x: facts are not JSON"):
        encode(Clip("x", frames, facts={"bad": {1, 2}}))
    with pytest.raises(ValueError, match="clip x: facts are not JSON"):
        encode(Clip("x", frames, facts={"bad": float("nan")}))
    with pytest.raises(ValueError, match=r"video_encoding 'gif' must be one of lossless, h264"):
        encode(Clip("x", frames), "gif")


def test_what_a_member_unpacks_to_is_asked_before_it_is_unpacked() -> None:
    """Frames of the set take 98,304 bytes; 64 MiB of zeros are packed into 6 kB, and may not come out of them."""
    bomb = encode_array(np.zeros((1 << 13, 64, 64, 2), np.uint8))
    assert len(bomb) < 10_000
    tracemalloc.start()
    with pytest.raises(
        DecodeError, match=r"frames.npy.zst: unpacks to 67108992 bytes, at most 98304 are read"
    ):
        decode_member("frames.npy.zst", bomb, SIZES)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    streamed = zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * 1000)
    with pytest.raises(DecodeError, match="unpacks to untold bytes"):
        decode_member("frames.npy.zst", streamed, SIZES)


@pytest.mark.parametrize(
    "shape", [(9, 64, 64, 3), (7, 64, 64, 3), (8, 512, 512, 3), (8, 64, 48, 3), (8, 64, 64, 1)]
)
def test_films_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    film = encode(Clip("a", np.zeros(shape, np.uint8)), "h264")["frames.mp4"]
    with pytest.raises(DecodeError, match=r"frames.mp4: "):
        decode_member("frames.mp4", film, SIZES)


@pytest.mark.parametrize(
    "facts",
    [
        b'{"facts": [1]}',
        b'{"facts": {"a": NaN}}',
        b'{"facts": {"a": 1, "a": 2}}',
        b'{"facts": ' + b'{"a":' * 200 + b"1" + b"}" * 201,
        b'{"facts": ' + b"[" * 100_000,
        b'{"facts": {"fps": 1' + b"0" * 400 + b"}}",
        b'{"facts": {"file": "\\ud800"}}',
        b'{"facts": {}}'.ljust((1 << 20) + 1),
    ],
)
def test_facts_are_strict_json(facts: bytes) -> None:
    with pytest.raises(DecodeError, match=r"json: ") as raised:
        decode_member("json", facts, SIZES)
    assert len(str(raised.value)) < 300


def test_a_member_of_no_field_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"secrets.npy.zst: no decoder"):
        decode_member("secrets.npy.zst", encode_array(np.zeros(3, np.uint8)), SIZES)
    whole = encode(Numbered(size=64).clip("train", 0, 0))
    film = encode(Numbered(size=64).clip("train", 0, 0), "h264")["frames.mp4"]
    with pytest.raises(DecodeError, match="sample a: frames twice"):
        decode("a", whole | {"frames.mp4": film}, {"t": 3, "h": 64, "w": 64, "c": 1, "n": 0})
