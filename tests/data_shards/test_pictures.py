"""Pictures as they are meant to be seen: 16 bits, turned by EXIF, too large; steps of their numbers."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_shards.sources.camvid import CamVid
from data_shards.sources.footage import find_footage
from data_shards.sources.pictures import ORIENTATION, as_rgb, decode_picture, joined, upright_size
from data_shards.sources.shots import measure
from tests.data_shards.test_camvid import source as camvid
from tests.data_shards.test_camvid import write_camvid
from tests.films import whole


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_levels_of_16_bits_keep_their_brightness() -> None:
    levels = np.array([[0, 128, 129, 257, 128 * 257, 65535]], np.uint16)
    image = as_rgb(decode_picture(png(levels), "a.png"))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_16_bits_in_a_folder_and_in_camvid(tmp_path: Path) -> None:
    grey = np.full((32, 48), 100 * 257, np.uint16)
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(png(grey))
    assert (next(whole(tmp_path).clips("train", 1, 0)).frames == 100).all()
    write_camvid(tmp_path / "camvid", "train", ["A_01"])
    (tmp_path / "camvid" / "train" / "A_01.png").write_bytes(png(grey))
    assert (next(camvid(tmp_path / "camvid").clips("train", 1, 0)).frames == 100).all()


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (16, 16)).save(tmp_path / "0.tiff")
    with pytest.raises(
        ValueError, match=rf"0\.png: has 32 bits a pixel \(mode {mode}\); save it with 8 or 16"
    ):
        decode_picture((tmp_path / "0.tiff").read_bytes(), "0.png")


@pytest.mark.parametrize("form", ["jpg", "png"])
def test_pictures_stand_upright_as_their_exif_says(tmp_path: Path, form: str) -> None:
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:, 40:] = 220
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # to be turned a quarter clockwise: the right comes to the bottom
    for number in range(4):
        Image.fromarray(stored).save(tmp_path / f"{number}.{form}", exif=exif)
    with Image.open(tmp_path / f"0.{form}") as image:
        assert upright_size(image) == (32, 64)
    frames = next(whole(tmp_path).clips("train", 1, 0)).frames
    assert frames[:, 22:].min() > 200
    assert frames[:, :18].max() < 20


def test_a_picture_too_large_to_open_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_camvid(tmp_path, "train", ["A_01"])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    (folder,) = find_footage((f"{tmp_path}/train",))
    with pytest.raises(
        ValueError, match=r"A_01\.png: cannot be opened as a picture \(Image size \(1536 pixels\)"
    ):
        measure(folder)
    with pytest.raises(ValueError, match=r"A_01\.png: cannot be opened as a picture"):
        next(CamVid(str(tmp_path)).clips("train", 1, 0))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], []),
        ([4], [0]),
        ([4, 9], [0, 1]),
        ([0, 2, 4, 5, 6, 8], [0, 1, 1, 0, 0, 1]),
        ([0, 1, 3, 4, 6], [0, 1, 0, 1, 0]),
        ([0, 33, 66, 100, 133, 200, 233], [0, 1, 1, 1, 1, 0, 1]),  # milliseconds at 30 a second
        ([5 * 10**18 + n * 50_000_000 + n * n % 7 * 1000 for n in range(6)], [0, 1, 1, 1, 1, 1]),
    ],
)
def test_steps_near_the_most_frequent_join(numbers: list[int], expected: list[int]) -> None:
    assert list(joined(numbers)) == [bool(value) for value in expected]


HIDDEN, SHOWN = (255, 0, 255), (40, 200, 80)


def chunked(depth: int, kind: int, row: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG two pixels wide, written here: Pillow writes few of the kinds there are."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    parts = [(b"IHDR", struct.pack(">IIBBBBB", 2, 1, depth, kind, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def shorts(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


TRANSPARENT = {
    "rgba": (chunked(8, 6, bytes([*HIDDEN, 0, *SHOWN, 255])), SHOWN),
    "half": (chunked(8, 6, bytes([*HIDDEN, 0, 200, 100, 50, 128])), (100, 50, 25)),
    "rgba of 16 bits": (
        chunked(16, 6, shorts(9999, 9, 65535, 0, 40 * 257, 200 * 257, 80 * 257, 65535)),
        SHOWN,
    ),
    "grey": (chunked(8, 4, bytes([255, 0, 77, 255])), (77,) * 3),
    "grey of 16 bits": (chunked(16, 4, shorts(65535, 0, 77 * 257, 65535)), (77,) * 3),
    "palette": (
        chunked(8, 3, bytes([0, 1]), (b"PLTE", bytes([*HIDDEN, *SHOWN])), (b"tRNS", bytes([0, 255]))),
        SHOWN,
    ),
    "colour key": (chunked(8, 2, bytes([*HIDDEN, *SHOWN]), (b"tRNS", shorts(*HIDDEN))), SHOWN),
    "grey key": (chunked(8, 0, bytes([255, 77]), (b"tRNS", shorts(255))), (77,) * 3),
    "grey key of 16 bits": (chunked(16, 0, shorts(65535, 77 * 257), (b"tRNS", shorts(65535))), (77,) * 3),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_what_is_transparent_is_black_whatever_colour_is_under_it(kind: str) -> None:
    data, shown = TRANSPARENT[kind]
    left, right = np.asarray(as_rgb(decode_picture(data, "a.png")))[0].astype(int)
    assert left.tolist() == [0, 0, 0]
    assert np.abs(right - shown).max() <= 1


@pytest.mark.parametrize(("depth", "kind", "key"), [(16, 2, (1, 2, 3)), (2, 0, (1,)), (4, 0, (1,))])
def test_a_transparent_colour_that_cannot_be_told_is_refused(
    depth: int, kind: int, key: tuple[int, ...]
) -> None:
    row = shorts(*key, 4, 5, 6) if depth == 16 else bytes([0x1F])
    data = chunked(depth, kind, row, (b"tRNS", shorts(*key)))
    with pytest.raises(ValueError, match=f"a.png: marks a colour as transparent in {depth} bits"):
        decode_picture(data, "a.png")


def test_an_animation_is_no_picture() -> None:
    frames = [Image.new("RGB", (8, 8), (level, 0, 0)) for level in (0, 100, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"a\.png: is an animation; make a video of it"):
        decode_picture(buffer.getvalue(), "a.png")
