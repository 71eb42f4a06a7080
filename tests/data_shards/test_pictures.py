"""Pictures as they are meant to be seen: 16 bits, turned by EXIF, too large; steps of their numbers."""

import io
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
