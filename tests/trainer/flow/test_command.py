"""`python -m trainer flow` on a model whose flow is known, with data sets and files; films as players see them."""

import io
import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from data_shards.loader import DataConfig
from data_shards.sources.sprites import Sprites
from data_shards.sources.video import Video as VideoSource
from data_shards.writer import build
from model.interface import ModelOutput, Video, VideoModel, Views
from tests.saved_run import save_run
from trainer import __main__ as commands
from trainer.checkpoint import LoadedModel
from trainer.exits import exit_code
from trainer.flow import command
from trainer.flow.command import flow_of
from trainer.flow.film import mp4
from trainer.flow.flo import parse_flo


class Brightness(VideoModel):
    """Flow of frame i to the right as fast as the frame's brightness, in hundredths; at the `last` few frames only."""

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        self.last, self.lengths = last, []

    def forward(self, video: Video, step: int) -> ModelOutput:
        self.lengths.append(video.frames.shape[1])
        bright = video.frames[:, 1:].mean((2, 3, 4)) * 100
        flow = torch.zeros(*bright.shape, 2, *video.frames.shape[-2:])
        flow[:, :, 0] = bright[..., None, None]
        flow = flow if self.last is None else flow[:, -self.last :]
        return ModelOutput(torch.zeros(()), {}, Views(flow=flow))

    def predict(self, video: Video, horizon: int) -> torch.Tensor:
        return video.frames[:, -1:].expand(-1, horizon, -1, -1, -1)


def film(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def write_video(path: Path, images: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(("last", "first"), [(None, 1), (1, 4), (3, 2)])
def test_each_frame_has_its_flow_from_the_window_before_it(last: int | None, first: int) -> None:
    """The brightness names the frame: the flow into frame i must come from the clip that ends with it."""
    frames = (torch.arange(24) / 100).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    model = Brightness(last)
    flow = flow_of(model, frames, 0, 5)
    assert flow[:, 0, 2, 2].tolist() == pytest.approx(list(range(first, 24)), abs=1e-4)
    assert set(model.lengths) == {5}
    short = flow_of(Brightness(), frames[:3], 0, 5)
    assert len(short) == 2


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch, tiny_set: str) -> None:
    """A checkpoint of Brightness, trained on the tiny set, wherever it is asked for."""
    run = type("Run", (), {"data": DataConfig(tiny_set)})()
    loaded = object.__new__(LoadedModel)
    for name, value in {"config": run, "model": Brightness().eval(), "step": 0, "url": "run"}.items():
        object.__setattr__(loaded, name, value)
    monkeypatch.setattr(command, "load_model", lambda url: loaded)


@pytest.mark.usefixtures("bright")
def test_a_data_set(tmp_path: Path, tiny_set: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert commands.main(["flow", "run", tiny_set, "--out", str(out), "--scenes", "2", "--flo"]) == 0
    keys = ["test-000000", "test-000001"]
    numbers = [f"{key}-{i:04d}.flo" for key in keys for i in (1, 2, 3)]
    assert {p.name for p in out.iterdir()} == {f"{k}.{e}" for k in keys for e in ("png", "mp4")} | {
        "wheel.png", *numbers,
    }  # fmt: skip
    clip = next(Sprites(size=16, frames=4, objects=2).clips("test", 1, 0))
    for i in (1, 2, 3):
        flow = parse_flo((out / f"{keys[0]}-{i:04d}.flo").read_bytes())
        assert float(flow[0].mean()) == pytest.approx(clip.frames[i].mean() / 2.55, abs=1e-3)
    shown = film((out / f"{keys[0]}.mp4").read_bytes())
    assert shown.shape == (3, 256, 512, 3)
    frames = clip.frames[1:].repeat(16, 1).repeat(16, 2)
    assert np.abs(shown[:, :, :256].astype(int) - frames).mean() < 4
    red, others = shown[:, 8:-8, 264:-8, 0], shown[:, 8:-8, 264:-8, 1:]
    assert red.min() > 235  # to the right is red
    assert others.mean() < 120
    assert "test-000001: flow into 3 of 4 frames, mean speed" in capsys.readouterr().out
    with Image.open(out / f"{keys[0]}.png") as sheet:
        assert sheet.width > 300


@pytest.mark.usefixtures("bright")
def test_a_file_is_cut_into_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dark, light = np.full((24, 32, 3), 30, np.uint8), np.full((24, 32, 3), 220, np.uint8)
    write_video(tmp_path / "two.mkv", [dark] * 6 + [light] * 7)
    out = tmp_path / "out"
    arguments = [
        "flow",
        "run",
        str(tmp_path / "two.mkv"),
        "--out",
        str(out),
        "--fastest",
        "100",
        "--frames",
        "6",
    ]
    assert commands.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("two-00: flow into 5 of 6 frames, mean speed 11.")
    assert lines[1].startswith("two-01: flow into 5 of 6 frames, mean speed 86.")
    with av.open(str(out / "two-01.mp4")) as container:
        assert container.streams.video[0].average_rate == 5


def test_a_file_is_decoded_as_the_set_of_the_run(tmp_path: Path) -> None:
    """A set at 2.5 frames a second, stretched: of a file at 5, every other frame, with its sides."""
    image = np.full((24, 48, 3), 30, np.uint8)
    image[:, :12] = 220  # a crop would lose it
    write_video(tmp_path / "a.mkv", [image] * 40)
    source = VideoSource(
        (str(tmp_path),), 16, 4, fps=2.5, fit="stretch", grey=True, val_share=0.0, test_share=0.0
    )
    url = str(tmp_path / "set")
    build("video", source, url, {"train": 2}, seed=0)
    run = type("Run", (), {"data": DataConfig(url)})()
    loaded = object.__new__(LoadedModel)
    object.__setattr__(loaded, "config", run)
    (scene,) = command.scenes_of_file(loaded, str(tmp_path / "a.mkv"), 3, 100)
    assert scene.frames.shape == (20, 1, 16, 16)
    assert scene.fps == 2.5
    assert scene.frames[0, 0, 8, :4].min() > 0.8 > scene.frames[0, 0, 8, 5:].max() + 0.5


@pytest.mark.usefixtures("bright")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{}/none.mp4"], "no video file"),
        (["{}/one.mkv"], "no two frames of it belong together"),
        (["{}/nothing"], "no data set|no such file|manifest"),
        (["{}/one.mkv", "--fastest", "0"], "--fastest: got 0"),
        (["{}/one.mkv", "--scenes", "0"], "--scenes 0"),
        (["{}/one.mkv", "--frames", "1"], "--frames 1"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    write_video(tmp_path / "one.mkv", [np.zeros((16, 16, 3), np.uint8)])
    filled = [a.format(tmp_path) for a in arguments]
    assert exit_code(lambda: commands.main(["flow", "run", *filled, "--out", str(tmp_path / "out")])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line)


def test_files_need_a_square_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bright: None) -> None:
    monkeypatch.setattr(command, "read_manifest", lambda url: type("M", (), {"shape": (5, 12, 16, 3)}))
    with pytest.raises(ValueError, match="takes 12 x 16"):
        command.main(["run", str(tmp_path / "a.mp4"), "--out", str(tmp_path)])


def test_a_model_without_flow_is_named(tmp_path: Path, tiny_set: str) -> None:
    run = save_run(tmp_path / "run", tiny_set)
    with pytest.raises(ValueError, match="has no flow; train one that has, such as ae-convlstm-flow"):
        command.main([run, tiny_set, "--out", str(tmp_path / "out")])


def test_films_of_odd_sizes_show_their_pictures() -> None:
    pictures = [np.full((7, 9, 3), level, np.uint8) for level in (20, 120, 220)]
    shown = film(mp4(pictures, 29.97))
    assert shown.shape == (3, 8, 10, 3)
    assert np.abs(shown.astype(int).mean((1, 2)) - [[20] * 3, [120] * 3, [220] * 3]).max() < 4
    for bad in ([], 25.0), (pictures, 0.0):
        with pytest.raises(ValueError, match="a film needs"):
            mp4(*bad)


def test_scenes_of_a_set_are_the_first_clips_of_a_split(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    build("sprites", Sprites(size=16, frames=4, objects=2), url, {"train": 2}, seed=0)
    run = type("Run", (), {"data": DataConfig(url)})()
    loaded = object.__new__(LoadedModel)
    object.__setattr__(loaded, "config", run)
    scenes = list(command.scenes_of_set(loaded, url, "train", 5, 3))
    assert [scene.key for scene in scenes] == ["train-000000", "train-000001"]
    assert scenes[0].frames.shape == (3, 3, 16, 16)
    with pytest.raises(ValueError, match="test"):
        next(command.scenes_of_set(loaded, url, "test", 5, 3))
