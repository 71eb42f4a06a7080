"""What decoding does with times and shapes: rates that vary, holes, pixels that are not square, mirrors."""

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data_shards.sources.footage import Footage
from data_shards.sources.shots import DecodedFrame, at_rate, decode, measure
from tests.films import NO_CUTS, numbered, whole, write


def write_at(path: Path, times: Iterable[float], images: np.ndarray | None = None) -> Path:
    """A video of grey frames, or of `images`, shown at `times` (s)."""
    base = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base, stream.codec_context.max_b_frames = base, 0
        for number, time in enumerate(times):
            image = np.full((32, 32, 3), 90, np.uint8) if images is None else images[number]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def sampled(times: list[float], fps: float | None, rate: float) -> list[tuple[float, int]]:
    """(time, shot) of the pictures that `at_rate` takes of one shot at these times."""
    image = np.zeros((1, 1, 1), np.uint8)
    pictures = (DecodedFrame(image, number, time, 0) for number, time in enumerate(times))
    return [(picture.time, picture.shot) for picture in at_rate(pictures, fps, rate)]


def test_ticks_without_a_picture_are_not_made_up_for() -> None:
    """Four frames are dropped of a film of 60 a second, of which 20 are wanted."""
    times = [n / 60 for n in range(120) if not 30 <= n < 34]
    taken = [time for time, _ in sampled(times, 20, 60)]
    assert min(np.diff(taken)) > 1.9 / 60  # half a frame early after half a frame late
    assert len(taken) == 39  # one tick fell into the hole


@pytest.mark.parametrize("fps", [None, 10.0])
def test_a_hole_in_time_ends_the_take(fps: float | None) -> None:
    times = [n / 30 for n in range(30)] + [11 + n / 30 for n in range(30)] + [40.0]
    shots = dict(sampled(times, fps, 30))
    assert {time // 10: shot for time, shot in shots.items()} == {0: 0, 1: 1, 4: 2}
    assert len(shots) == (61 if fps is None else 21)


def moving(times: list[float], fps: float | None, rate: float) -> list[int]:
    """The shots of what `at_rate` takes of pictures at these times, of which none is like the one before."""
    images = np.arange(len(times), dtype=np.uint8)[:, None, None, None] * np.uint8(37)
    pictures = (DecodedFrame(images[n], n, time, 0) for n, time in enumerate(times))
    return [picture.shot for picture in at_rate(pictures, fps, rate)]


BURSTS = [second + n / 30 for second in range(4) for n in (*range(6), 15, 24)]  # of 6 frames, then each 0.3 s


def test_a_slower_clock_has_a_picture_for_most_ticks_of_frames_that_come_and_go() -> None:
    assert moving(BURSTS, 3.0, 30) == [0] * 12
    assert moving(BURSTS, 4.0, 30) == [0] * len(moving(BURSTS, 4.0, 30))
    assert max(moving(BURSTS, None, 30)) == max(moving(BURSTS, 20.0, 30)) > 4


def test_a_step_in_which_nothing_moves_is_no_cut() -> None:
    assert {shot for _, shot in sampled(BURSTS, None, 30)} == {0}
    assert {shot for _, shot in sampled(BURSTS, 10.0, 30)} == {0}
    assert {shot for _, shot in sampled([0.0, 0.1, 2.0, 4.2], None, 10)} == {0, 1}  # 2.2 s are a pause


def test_clips_of_a_recording_whose_rate_varies(tmp_path: Path) -> None:
    """Frames of 20 s, fewer than 8 at the usual rate would take: 30 a second now and then, else 3."""
    times = sorted(
        {n / 3 for n in range(60)} | {5 + n / 30 for n in range(35)} | {14 + n / 30 for n in range(35)}
    )
    images = np.random.default_rng(0).integers(0, 255, (len(times), 8, 8, 3)).astype(np.uint8)
    file = write_at(tmp_path / "a.mp4", times, images.repeat(4, 1).repeat(4, 2))
    extent = measure(Footage(str(tmp_path), "a.mp4"))
    assert extent.rate == pytest.approx(30, rel=0.03)
    assert extent.pace == pytest.approx(len(times) / 20, rel=0.05)
    assert len(list(whole(file, fps=3.0, frames=8).clips("train", 99, 0))) == 7
    slow = whole(file, fps=12.0, frames=30)
    assert not list(slow.clips("train", 99, 0))
    assert "takes of fewer than 30 frames were left out" in slow.left_out("train")


def test_a_part_without_clips_says_why(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mkv", numbered(20))
    source = whole(file, val_share=0.1, test_share=0.1)
    for split in ("train", "val", "test"):
        list(source.clips(split, 99, 0))
    assert source.left_out("train") == ""
    for split in ("val", "test"):
        assert "no input is long enough for parts of it that hold a clip of 4 frames" in source.left_out(
            split
        )


def test_the_rate_is_that_of_most_frames(tmp_path: Path) -> None:
    hole = [n / 30 for n in range(60)] + [12 + n / 30 for n in range(120)]
    write_at(tmp_path / "hole.mp4", hole)
    assert measure(Footage(str(tmp_path), "hole.mp4")).rate == pytest.approx(30, rel=0.02)
    source = whole(tmp_path / "hole.mp4", fps=20.0, frames=8)
    for clip in source.clips("train", 99, 0):
        first, last = (int(str(clip.facts[name])) for name in ("first_frame", "last_frame"))
        assert hole[last] - hole[first] == pytest.approx(7 / 20, abs=0.04)
    slow = write_at(tmp_path / "slow.mp4", [n / 5 for n in range(30)] + [6 + n / 30 for n in range(20)])
    with pytest.raises(ValueError, match=r"fps 20: .*slow\.mp4 has only 5 frames per second"):
        next(whole(slow, fps=20.0).clips("train", 1, 0))


@pytest.mark.parametrize("extension", ["avi", "mp4", "webm", "mkv"])
def test_a_rate_that_times_cannot_hold_is_the_headers(tmp_path: Path, extension: str) -> None:
    """A frame in 1 / 24 s is 42 or 41 whole milliseconds."""
    write(tmp_path / f"a.{extension}", numbered(50), rate=24)
    assert measure(Footage(str(tmp_path), f"a.{extension}")).rate == pytest.approx(24, rel=1e-3)


@pytest.mark.parametrize(
    ("shown", "sides"),
    [
        ((1, 0, 0, 1), "TRBL"),
        ((0, 1, -1, 0), "LTRB"),  # a quarter turn clockwise: the stored left is shown on top
        ((-1, 0, 0, -1), "BLTR"),
        ((0, -1, 1, 0), "RBLT"),
        ((-1, 0, 0, 1), "TLBR"),  # left and right swapped
        ((1, 0, 0, -1), "BRTL"),
        ((0, 1, 1, 0), "LBRT"),  # rows and columns swapped
        ((0, -1, -1, 0), "RTLB"),
    ],
)
def test_turned_and_mirrored_video_stands_as_shown(
    tmp_path: Path, shown: tuple[int, ...], sides: str
) -> None:
    """`shown`: a b c d of the display matrix. `sides`: of the stored picture, as seen from the top clockwise."""
    levels = {"T": 40, "R": 100, "B": 160, "L": 220}
    image = np.full((64, 64, 3), 10, np.uint8)
    image[:16, 16:48], image[48:, 16:48] = levels["T"], levels["B"]
    image[16:48, :16], image[16:48, 48:] = levels["L"], levels["R"]
    file = write(tmp_path / "a.mp4", [image] * 4)
    data = bytearray(file.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (number << 16 for number in shown)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    file.write_bytes(data)
    frame = next(whole(file).clips("train", 1, 0)).frames[0, :, :, 0].astype(int)
    seen = (frame[3, 16], frame[16, 28], frame[28, 16], frame[16, 3])
    assert [min(levels, key=lambda side: abs(levels[side] - value)) for value in seen] == list(sides)


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    """A circle on the screen, stored at half its width."""
    y, x = np.mgrid[:64, :48]
    image = np.where(((x - 24) * 2) ** 2 + (y - 32) ** 2 < 24**2, np.uint8(220), np.uint8(20))
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        for _ in range(2):
            frame = av.VideoFrame.from_ndarray(np.stack([image] * 3, -1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    picture = next(decode(Footage(str(tmp_path), "a.mp4"), (64, 64), "crop", True, NO_CUTS))
    disc = picture.image[..., 0] > 120
    assert abs(np.ptp(np.nonzero(disc.any(0))) - 47) <= 2
    assert abs(np.ptp(np.nonzero(disc.any(1))) - 47) <= 2


def test_a_file_of_which_nothing_can_be_decoded_is_named_when_measured(tmp_path: Path) -> None:
    """Its header and packets are in order."""
    bad = write(tmp_path / "b.avi", numbered(20), codec=("mjpeg", "yuvj420p"))
    data = bytearray(bad.read_bytes())
    for start in [
        i for i in range(len(data)) if data[i : i + 4] == b"00dc" and data[i + 8 : i + 10] == b"\xff\xd8"
    ]:
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        data[start + 8 : start + 8 + size] = bytes(size)
    bad.write_bytes(data)
    with pytest.raises(ValueError, match=r"b\.avi: no frame can be decoded"):
        measure(Footage(str(tmp_path), "b.avi"))
