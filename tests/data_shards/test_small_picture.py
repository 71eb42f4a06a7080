"""Colour of small pictures, against the mean of what each of their pixels covers, computed by other means."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from jaxtyping import Float64
from PIL import Image

from data_shards.h264 import decode_h264, encode_h264
from data_shards.sources.footage import find_footage
from data_shards.sources.shots import decode
from data_shards.sources.small_picture import Fit
from tests.films import NO_CUTS, whole

RED, BLUE = (255, 0, 0), (0, 0, 255)
SMALL = 64


def stripes(side: int, width: int) -> np.ndarray:
    """Columns of blue and red, each `width` pixels wide."""
    red = np.arange(side) // width % 2 == 1
    line = np.where(red[:, None], RED, BLUE).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(line, (side, side, 3)))


def coverage(source: int, small: int) -> Float64[np.ndarray, "small source"]:
    """Which share of each of `small` equal parts of a line each of its `source` pixels is."""
    edges = np.arange(small + 1) * source / small
    first, last = edges[:-1, None], edges[1:, None]
    pixels = np.arange(source)
    covered = (np.minimum(last, pixels + 1) - np.maximum(first, pixels)).clip(0)
    shares: Float64[np.ndarray, "small source"] = covered * small / source
    return shares


def area_mean(image: np.ndarray, small: int) -> np.ndarray:
    """The picture of `small` x `small` pixels, each the mean of what it covers."""
    rows, columns = (coverage(side, small) for side in image.shape[:2])
    return np.einsum("yi,xj,ijc->yxc", rows, columns, image.astype(float), optimize=True)


def store(path: Path, image: np.ndarray, pixels: str) -> Path:
    """A lossless video of two such frames, converted here: BT.601, limited range, colour the mean of its pixels."""
    red, green, blue = np.moveaxis(image / 255, -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = [16 + 219 * luma]
    rows, columns = {"yuv420p": (2, 2), "yuv422p": (1, 2), "yuv444p": (1, 1)}[pixels]
    for colour, reach in ((blue, 1.772), (red, 1.402)):
        plane = 128 + 224 * (colour - luma) / reach
        height, width = plane.shape
        planes.append(plane.reshape(height // rows, rows, width // columns, columns).mean((1, 3)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=20)
        stream.height, stream.width, stream.pix_fmt = *image.shape[:2], pixels
        for _ in range(2):
            frame = av.VideoFrame(image.shape[1], image.shape[0], pixels)
            for plane, values in zip(frame.planes, planes, strict=True):
                lines = np.zeros((values.shape[0], plane.line_size), np.uint8)
                lines[:, : values.shape[1]] = np.rint(values)
                plane.update(lines)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def error(place: Path, image: np.ndarray, fit: Fit = "stretch") -> float:
    """Mean distance of a video's first small picture to the mean of what it covers, 0..255."""
    (footage,) = find_footage((str(place),))
    picture = next(decode(footage, (SMALL, SMALL), fit, False, NO_CUTS))
    return float(np.abs(picture.image - area_mean(image, SMALL)).mean())


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize(("side", "width"), [(640, 20), (640, 10), (320, 6), (200, 6), (128, 2)])
@pytest.mark.parametrize("turned", [False, True])
def test_stripes_of_two_colours_keep_them(
    tmp_path: Path, pixels: str, side: int, width: int, turned: bool
) -> None:
    image = stripes(side, width)
    image = np.ascontiguousarray(image.swapaxes(0, 1)) if turned else image
    assert error(store(tmp_path / "a.mkv", image, pixels), image) < 6


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_colour_of_any_picture_is_the_mean(tmp_path: Path, fit: Fit) -> None:
    """Of noise in blocks of four pixels: also red against green, and grey."""
    blocks = np.random.default_rng(0).integers(0, 256, (80, 80, 3)).astype(np.uint8)
    image = blocks.repeat(4, 0).repeat(4, 1)
    assert error(store(tmp_path / "a.mkv", image, "yuv444p"), image, fit) < 3


def test_pictures_of_a_folder_keep_them(tmp_path: Path) -> None:
    """They are RGB, of which libswscale would read every other column."""
    for number in range(2):
        Image.fromarray(stripes(200, 5)).save(tmp_path / f"{number}.png")
    assert error(tmp_path, stripes(200, 5), "crop") < 3


def test_what_is_not_reduced_keeps_them(tmp_path: Path) -> None:
    file = store(tmp_path / "a.mkv", stripes(SMALL, 1), "yuv444p")
    frames = next(whole(file, size=SMALL, frames=2).clips("train", 1, 0)).frames
    assert np.abs(frames - stripes(SMALL, 1).astype(float)).mean() < 3


def test_h264_members_keep_them() -> None:
    frames = np.stack([stripes(SMALL, 1)] * 3)
    assert np.abs(decode_h264(encode_h264(frames), frames.shape) - frames.astype(float)).mean() < 3


@pytest.mark.parametrize(
    ("ending", "codec", "pixels"),
    [
        ("mov", "qtrle", "argb"),
        ("mkv", "ffv1", "bgra"),
        ("mkv", "ffv1", "yuva444p"),
        ("mov", "png", "rgba"),
        ("mov", "prores_ks", "yuva444p10le"),
        ("mov", "png", "ya8"),
        ("gif", "gif", "pal8"),
        ("apng", "apng", "rgba"),
    ],
)
def test_what_is_transparent_in_a_video_is_black(
    tmp_path: Path, ending: str, codec: str, pixels: str
) -> None:
    """The left half is white under transparency, the right one grey and opaque."""
    image = np.full((64, 64, 4), 255, np.uint8)
    image[:, :32, 3], image[:, 32:, :3] = 0, 120
    file = tmp_path / f"a.{ending}"
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=20)
        stream.height, stream.width, stream.pix_fmt = 64, 64, pixels
        if pixels == "pal8":
            frames = [palette_frame(image) for _ in range(4)]
        else:
            frames = [
                av.VideoFrame.from_ndarray(image, format="rgba").reformat(format=pixels) for _ in range(4)
            ]
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, 20)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for grey in (False, True):
        frames_of = next(whole(file, grey=grey).clips("train", 1, 0)).frames.astype(int)
        assert frames_of[:, :, :15].max() <= 2
        assert np.abs(frames_of[:, :, 17:] - 120).max() <= 4


def test_transparency_that_decoders_leave_out_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.webm"), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=20, options={"auto-alt-ref": "0"})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuva420p"
        container.mux(stream.encode(av.VideoFrame(64, 64, "yuva420p")))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match=r"a\.webm: keeps transparency as WebM does, which is not read"):
        next(whole(tmp_path / "a.webm").clips("train", 1, 0))


def palette_frame(image: np.ndarray) -> av.VideoFrame:
    """The same by a palette of two colours."""
    frame = av.VideoFrame(64, 64, "pal8")
    lines = np.zeros((64, frame.planes[0].line_size), np.uint8)
    lines[:, :64] = image[..., 3] > 0
    frame.planes[0].update(lines)
    colours = np.zeros(256, np.uint32)
    colours[:2] = 0x00FFFFFF, 0xFF787878
    frame.planes[1].update(colours.tobytes())
    return frame
