"""`python -m trainer discover` from a video to its files, with a model whose answer is known."""

import json
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from data_shards.exits import exit_code
from data_shards.loader import DataConfig
from model import MODELS
from tests.films import write
from tests.saved_run import save_run
from tests.trainer.discovery.test_sighting import Channels
from trainer import __main__ as commands
from trainer.checkpoints.checkpoint import Checkpoint
from trainer.checkpoints.load import LoadedModel, load_model
from trainer.commands import discover as command

UNTRAINED = Checkpoint(0, 1, 0, "first", {}, "", "", {})


@pytest.fixture(autouse=True)
def channels(monkeypatch: pytest.MonkeyPatch, tiny_set: str) -> None:
    """A checkpoint of Channels, trained on the tiny set, wherever `run` is asked for."""
    model = type("Model", (), {"follows": True})()
    config = type("Run", (), {"data": DataConfig(tiny_set), "model": model})()
    loaded = object.__new__(LoadedModel)
    values = {"config": config, "model": Channels().eval(), "checkpoint": UNTRAINED, "url": "run"}
    for name, value in values.items():
        object.__setattr__(loaded, name, value)
    there = load_model
    monkeypatch.setattr(command, "load_model", lambda url: loaded if url == "run" else there(url))


def moving(count: int, colour: tuple[int, int, int] = (255, 0, 0)) -> Iterator[np.ndarray]:
    """A square of 20 pixels that goes two pixels a frame to the right, on 48 x 72."""
    for i in range(count):
        image = np.zeros((48, 72, 3), np.uint8)
        image[10:30, 14 + 2 * i : 34 + 2 * i] = colour
        yield image


def discover(*words: str) -> int:
    return exit_code(lambda: commands.main(["discover", "run", *words]))


def test_all_files_in_the_size_of_the_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write(tmp_path / "red.mkv", moving(12))
    out = tmp_path / "out"
    assert discover(str(video), "--out", str(out)) == 0
    told = "1 object in 12 frames; number 1 is seen longest, in 12 of them"
    assert capsys.readouterr().out == f"{out}/red: {told}\n"
    folder = out / "red"
    assert {path.name for path in folder.iterdir()} == {
        "film.mp4", "masks", "masks.json", "page.html", "tracks.txt",
    }  # fmt: skip
    for i, line in enumerate((folder / "tracks.txt").read_text().splitlines()):
        frame, number, x, y, width, height = map(int, line.split(",")[:6])
        assert (frame, number) == (i + 1, 1)
        assert abs(x - (14 + 2 * i)) <= 2  # to a pixel of the model's 16
        assert abs(y - 10) <= 2
        assert abs(width - 20) <= 3
        assert abs(height - 20) <= 3
    with Image.open(folder / "masks" / "000011.png") as image:
        assert image.size == (72, 48)
        assert set(np.unique(np.asarray(image))) == {0, 1}
    assert len(json.loads((folder / "masks.json").read_text())["images"]) == 12
    with av.open(str(folder / "film.mp4")) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == pytest.approx(20, rel=0.1)
    assert len(pictures) == 12
    assert pictures[0].shape == (48 * 3, 72 * 3 + 48 * 3, 3)
    assert pictures[0][:, 72 * 3 :].max() < 20  # nothing is predicted of the first
    assert pictures[5][60, 72 * 3 :].max() > 200
    page = (folder / "page.html").read_text()
    assert told in page
    assert page.count("<video") == 1
    assert "object 1: frames 0 to 11" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_film_is_as_fast_as_the_video_where_frames_come_unevenly(tmp_path: Path) -> None:
    """Twice a frame every tenth of a second, then one every half."""
    times = [0.0, 0.1, 0.2, 0.7, 1.2, 1.3, 1.8]
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 72, "yuv444p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time, image in zip(times, moving(len(times)), strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert discover(str(tmp_path / "a.mkv"), "--out", str(tmp_path / "out")) == 0
    with av.open(str(tmp_path / "out" / "a" / "film.mp4")) as container:
        shown = [frame.time for frame in container.decode(video=0)]
    assert shown == pytest.approx(times, abs=0.002)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ([np.zeros((32, 32, 3), np.uint8)] * 5, "no object in 5 frames: nothing moves, at most 0.0% of"),
        (list(moving(6, (0, 0, 255))), "no object in 6 frames, though up to .*% of the pixels change"),
        ([np.zeros((32, 32, 3), np.uint8)], "no object in 1 frame: it takes two"),
    ],
)
def test_where_nothing_is_found_it_is_said_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], images: list[np.ndarray], told: str
) -> None:
    video = write(tmp_path / "a.mkv", images)
    assert discover(str(video), "--out", str(tmp_path / "out")) == 0
    assert re.search(told, capsys.readouterr().out)
    assert (tmp_path / "out" / "a" / "tracks.txt").read_text() == ""
    assert json.loads((tmp_path / "out" / "a" / "masks.json").read_text())["annotations"] == []


def test_one_bad_video_does_not_keep_the_others_from_being_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [write(tmp_path / f"{name}.mkv", moving(3)) for name in "ac"]
    (tmp_path / "b.mkv").write_bytes(b"none")
    places = [str(good[0]), str(tmp_path / "b.mkv"), str(good[1])]
    assert discover(*places, "--out", str(tmp_path / "out")) == 2
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 2
    assert len(told.err.splitlines()) == 1
    assert "b.mkv" in told.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "c"}


def test_what_is_there_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write(tmp_path / "a.mkv", moving(3))
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "mine").write_text("")
    assert discover(str(video), "--out", str(tmp_path / "out")) == 2
    assert "out/a is there already; remove it or name another --out" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["a", "mine"]


def test_what_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "write_page", fail)
    video = write(tmp_path / "a.mkv", moving(3))
    assert discover(str(video), "--out", str(tmp_path / "out")) == 130
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{}/none.mp4", "--out", "{}/out"], "does not exist"),
        (["{}/a.mkv", "--out", "{}/a.mkv"], "a.mkv is no folder"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    write(tmp_path / "a.mkv", moving(3))
    assert discover(*[word.format(tmp_path) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_real_model_and_one_that_follows_nothing(tmp_path: Path, tiny_set: str) -> None:
    video = write(tmp_path / "a.mkv", moving(20))
    run = save_run(tmp_path / "run", tiny_set)
    words = ["discover", run, str(video), "--out", str(tmp_path / "out")]
    assert commands.main(words) == 0
    assert (tmp_path / "out" / "a" / "page.html").exists()
    other = save_run(tmp_path / "other", tiny_set, model=MODELS["ae-conv"].small())
    with pytest.raises(ValueError, match="its model follows no video; train one that does, such as"):
        commands.main(["discover", other, str(video), "--out", str(tmp_path / "no")])
    assert not (tmp_path / "no").exists()
