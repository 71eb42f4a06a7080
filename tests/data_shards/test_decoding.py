"""Files with broken packets, hidden packets and several streams: what is lost, what is counted, what is shown."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from data_shards.clip import Clip
from data_shards.sources.decoding import Damaged
from data_shards.sources.footage import Footage
from data_shards.sources.shots import DecodedFrame, decode, measure
from data_shards.sources.video import VideoFiles
from tests.films import NO_CUTS, numbered, numbers, whole

GROUP = 20  # frames from a key frame to the next


def packets_of(path: Path, count: int, codec: str, b_frames: int = 0) -> Path:
    """A video of `count` numbered frames, with a key frame every GROUP."""
    options = {"bf": str(b_frames), "sc_threshold": "0", "crf": "10", "qscale": "2"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=20, options=options)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = GROUP
        for number, image in enumerate(numbered(count)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 20)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def rewrite(source: Path, path: Path, change: Callable[[int, av.Packet], None]) -> Path:
    """The same packets, each (with its number) changed in place."""
    with av.open(str(source)) as given, av.open(str(path), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.size:
                change(number, packet)
                packet.stream = stream
                made.mux(packet)
    return path


def broken(source: Path, path: Path, which: set[int]) -> Path:
    """The same with zeros in the packets `which`."""

    def empty(number: int, packet: av.Packet) -> None:
        if number in which:
            packet.update(bytes(packet.size))

    return rewrite(source, path, empty)


def decoded(file: Path) -> tuple[list[DecodedFrame], int]:
    """The good frames, and how many are lost."""
    good: list[DecodedFrame] = []
    try:
        for frame in decode(Footage(str(file.parent), file.name), (48, 64), "stretch", False, NO_CUTS):
            good.append(frame)
    except Damaged as error:
        return good, error.lost
    return good, 0


def drawn(frames: list[DecodedFrame]) -> list[int]:
    """The numbers in the pictures."""
    return numbers(Clip("", np.stack([frame.image for frame in frames])))


@pytest.mark.parametrize(
    ("codec", "ending", "b_frames"),
    [("libx264", "mp4", 0), ("libx264", "mkv", 3), ("mpeg4", "avi", 0), ("mjpeg", "avi", 0)],
)
def test_a_broken_packet_costs_what_is_built_on_it(
    tmp_path: Path, codec: str, ending: str, b_frames: int
) -> None:
    """Up to the next key frame; with frames that look ahead, some just before it as well."""
    sound = packets_of(tmp_path / f"whole.{ending}", 100, codec, b_frames)
    with av.open(str(sound)) as container:
        keys = [n for n, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]
    lost = set(range(27, next(key for key in keys if key > 27)))
    file = broken(sound, tmp_path / f"a.{ending}", {27})
    assert measure(Footage(str(tmp_path), file.name)).packets == 100
    good, count = decoded(file)
    shown = [frame.number for frame in good]
    missing = set(range(100)) - set(shown)
    assert drawn(good) == shown  # each where it would be without the damage
    assert count == len(missing) <= len(lost) + b_frames
    assert b_frames or missing == lost
    assert min(missing) >= 27 - b_frames
    assert [frame.shot for frame in good] == [int(number > 27) for number in shown]


def test_parts_at_the_end_of_a_broken_file_have_clips(tmp_path: Path) -> None:
    file = broken(packets_of(tmp_path / "whole.mp4", 200, "libx264"), tmp_path / "a.mp4", {45, 81})
    source = VideoFiles((str(file),), size=32, frames=4, cut=NO_CUTS, fit="stretch")
    clips = {split: list(source.clips(split, 99, 0)) for split in ("train", "val", "test")}
    assert {split: len(found) for split, found in clips.items()} == {"train": 26, "val": 5, "test": 5}
    for clip in (clip for found in clips.values() for clip in found):
        assert numbers(clip)[0] == clip.facts["first_frame"]
    assert source.statistics()["damaged_frames"] == 15 + 19
    assert source.statistics()["damaged_files"] == {"a.mp4": f"{file}: 34 frames are damaged"}


def test_damage_is_told_of_files_that_are_not_read_to_their_end(tmp_path: Path) -> None:
    file = broken(packets_of(tmp_path / "whole.mp4", 200, "libx264"), tmp_path / "a.mp4", {45})
    source = VideoFiles((str(file),), size=32, frames=4, cut=NO_CUTS)
    assert list(source.clips("train", 99, 0))
    assert source.statistics()["damaged_files"] == {"a.mp4": "15 frames are damaged"}


def test_a_file_without_any_good_packet_is_named(tmp_path: Path) -> None:
    file = broken(packets_of(tmp_path / "whole.avi", 10, "mjpeg"), tmp_path / "a.avi", set(range(10)))
    with pytest.raises(ValueError, match=r"a\.avi: no frame can be decoded \("):
        measure(Footage(str(tmp_path), file.name))


def hidden(source: Path, path: Path, count: int) -> Path:
    """The same, in which an edit list hides the first `count` frames, as `ffmpeg -ss -c copy` makes it."""

    def earlier(_number: int, packet: av.Packet) -> None:
        step = round(Fraction(1, 20) / packet.time_base)
        assert packet.pts is not None
        assert packet.dts is not None
        packet.pts, packet.dts = packet.pts - count * step, packet.dts - count * step

    return rewrite(source, path, earlier)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_hidden_frames_are_no_frames(tmp_path: Path, b_frames: int) -> None:
    file = hidden(packets_of(tmp_path / "whole.mp4", 127, "libx264", b_frames), tmp_path / "a.mp4", 50)
    extent = measure(Footage(str(tmp_path), "a.mp4"))
    assert (extent.packets, extent.rate) == (77, 20)
    good, lost = decoded(file)
    assert (drawn(good), lost) == (list(range(50, 127)), 0)
    assert [frame.number for frame in good] == list(range(77))
    assert [good[0].time, good[-1].time] == pytest.approx([0, 76 / 20])
    source = VideoFiles((str(file),), size=32, frames=4, cut=NO_CUTS)
    counts = {split: len(list(source.clips(split, 99, 0))) for split in ("train", "val", "test")}
    assert counts == {"train": 10, "val": 2, "test": 2}
    assert source.statistics()["damaged_files"] == {}


def test_a_file_with_an_edit_list_that_was_cut_short_is_told(tmp_path: Path) -> None:
    given = packets_of(tmp_path / "whole.mp4", 200, "libx264")
    with (
        av.open(str(given)) as source,
        av.open(str(tmp_path / "a.mp4"), "w", options={"movflags": "faststart"}) as made,
    ):
        stream = made.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                step = 50 * round(Fraction(1, 20) / packet.time_base)
                packet.pts, packet.dts = (packet.pts or 0) - step, (packet.dts or 0) - step
                packet.stream = stream
                made.mux(packet)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(Damaged, match="of the 150 frames that its header says"):
        list(decode(Footage(str(tmp_path), "a.mp4"), (48, 64), "stretch", False, NO_CUTS))


def add_film(container: "av.container.OutputContainer", side: int, codec: str = "libx264") -> av.VideoStream:
    stream = container.add_stream(codec, rate=20, options={"crf": "10"})
    stream.width = stream.height = side
    stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    return stream


@pytest.mark.parametrize("first", [True, False])
def test_the_best_stream_is_the_film(tmp_path: Path, first: bool) -> None:
    """The one that is marked as the default, be it the second."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        sides = [32, 96] if first else [96, 32]
        streams = [add_film(container, side) for side in sides]
        for stream, side in zip(streams, sides, strict=True):
            stream.disposition = Disposition.default if side == 96 else Disposition(0)
        for number in range(8):
            for stream, side in zip(streams, sides, strict=True):
                image = np.full((side, side, 3), 200 if side == 96 else 30, np.uint8)
                image[: side // 2] += np.random.default_rng(number).integers(
                    0, 20, (side // 2, side, 3), np.uint8
                )
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 20)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    clip = next(whole(tmp_path / "a.mkv").clips("train", 1, 0))
    assert clip.frames.min() > 150


@pytest.mark.parametrize("film", [True, False])
def test_a_cover_is_no_video(tmp_path: Path, film: bool) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        cover = add_film(container, 320, "mjpeg")
        cover.disposition = Disposition.attached_pic
        stream = add_film(container, 32) if film else None
        picture = av.VideoFrame.from_ndarray(np.full((320, 320, 3), 30, np.uint8), format="rgb24")
        container.mux(cover.encode(picture))
        for number in range(8 * film):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 200, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 20)
            assert stream is not None
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))
    if film:
        assert next(whole(tmp_path / "a.mp4").clips("train", 1, 0)).frames.min() > 150
    else:
        with pytest.raises(ValueError, match=r"a\.mp4: has no video in it"):
            measure(Footage(str(tmp_path), "a.mp4"))
