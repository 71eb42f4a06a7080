"""`python -m trainer flow` on a model whose flow is known, with data sets and files; films as players see them."""

import io
import json
import queue
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from data_shards.clip import Clip
from data_shards.exits import exit_code
from data_shards.loader import DataConfig
from data_shards.sources.sprites import Sprites
from data_shards.sources.video import VideoFiles
from data_shards.writer import build
from model.interface import ModelOutput, Video, VideoModel, Views
from tests.conftest import require
from tests.saved_run import save_run
from trainer import __main__ as commands
from trainer.checkpoints.checkpoint import Checkpoint
from trainer.checkpoints.load import LoadedModel
from trainer.commands import flow as command
from trainer.commands.flow import flow_of
from trainer.pictures.film import mp4
from trainer.pictures.flo import parse_flo

UNTRAINED = Checkpoint(0, 1, 0, "first", {}, "", "", {})


class Brightness(VideoModel):
    """Flow of frame i to the right as fast as the frame's brightness, in hundredths; at the `last` few frames only."""

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        self.last = last
        self.lengths: list[int] = []

    def forward(self, video: Video, step: int) -> ModelOutput:
        self.lengths.append(video.frames.shape[1])
        bright = video.frames[:, 1:].mean((2, 3, 4)) * 100
        flow = torch.zeros(*bright.shape, 2, *video.frames.shape[-2:])
        flow[:, :, 0] = bright[..., None, None]
        flow = flow if self.last is None else flow[:, -self.last :]
        return ModelOutput(torch.zeros(()), {}, lambda: Views(flow=flow))

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
    for name, value in {
        "config": run,
        "model": Brightness().eval(),
        "checkpoint": UNTRAINED,
        "url": "run",
    }.items():
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
    source = VideoFiles(
        (str(tmp_path),), 16, 4, fps=2.5, fit="stretch", grey=True, val_share=0.0, test_share=0.0
    )
    url = str(tmp_path / "set")
    build("video", source, url, {"train": 2}, seed=0)
    run = type("Run", (), {"data": DataConfig(url)})()
    loaded = object.__new__(LoadedModel)
    object.__setattr__(loaded, "config", run)
    (scene,) = command.scenes_of_footage(loaded, str(tmp_path / "a.mkv"), 3, 100)
    assert scene.frames.shape == (20, 1, 16, 16)
    assert scene.fps == 2.5
    assert scene.frames[0, 0, 8, :4].min() > 0.8 > scene.frames[0, 0, 8, 5:].max() + 0.5


@pytest.mark.usefixtures("bright")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{}/none.mp4"], "does not exist"),
        (["{}/empty"], r"no video file \(.*\) there, nor pictures"),
        (["{}/one.mkv"], "no two frames of it belong together"),
        (["{}/nothing"], "does not exist"),
        (["{}/one.mkv", "--fastest", "0"], "--fastest: got 0"),
        (["{}/one.mkv", "--fastest", "inf"], "--fastest: got inf, must be a number of pixels above 0"),
        (["{}/one.mkv", "--fastest", "nan"], "--fastest: got nan"),
        (["{}/one.mkv", "--scenes", "0"], "--scenes 0"),
        (["{}/one.mkv", "--frames", "1"], "--frames 1"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    write_video(tmp_path / "one.mkv", [np.zeros((16, 16, 3), np.uint8)])
    filled = [a.format(tmp_path) for a in arguments]
    assert exit_code(lambda: commands.main(["flow", "run", *filled, "--out", str(tmp_path / "out")])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("bright")
def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"--out: .*/file is no folder"):
        commands.main(["flow", "run", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "file" / "out")])


@dataclass(frozen=True)
class Wide:
    """A source of clips that are not square."""

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        for index in range(count):
            yield Clip(f"{split}-{index}", np.full((4, 12, 16, 3), 50 * index + 50, np.uint8))


@pytest.mark.parametrize("form", ["set", "file", "pictures"])
def test_frames_need_not_be_square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Files and pictures are cut to the shape that the model was trained on: here the upper and lower edges go."""
    url = str(tmp_path / "set")
    build("wide", Wide(), url, {"train": 1, "test": 1}, seed=0)
    model = Brightness().eval()
    run = type("Run", (), {"data": DataConfig(url)})()
    loaded = object.__new__(LoadedModel)
    for name, value in {"config": run, "model": model, "checkpoint": UNTRAINED, "url": "run"}.items():
        object.__setattr__(loaded, name, value)
    monkeypatch.setattr(command, "load_model", lambda url: loaded)
    image = np.full((40, 32, 3), 90, np.uint8)
    image[:8], image[32:] = 255, 255  # 24 of 40 rows are as wide as the model's frames
    (tmp_path / "pictures").mkdir()
    for i in range(5):
        Image.fromarray(image).save(tmp_path / "pictures" / f"{i}.png")
    write_video(tmp_path / "file.mkv", [image] * 5)
    place = {"set": "set", "file": "file.mkv", "pictures": "pictures"}[form]
    out = tmp_path / "out"
    assert (
        commands.main(["flow", "run", str(tmp_path / place), "--out", str(out), "--fastest", "100", "--flo"])
        == 0
    )
    key, level, number = {
        "set": ("test-0", 50, 3),
        "file": ("file-00", 90, 4),
        "pictures": ("pictures-00", 90, 4),
    }[form]
    flow = parse_flo((out / f"{key}-{number:04d}.flo").read_bytes())
    assert flow.shape == (2, 12, 16)
    assert float(flow[0].mean()) == pytest.approx(level / 2.55, abs=0.8)
    shown = film((out / f"{key}.mp4").read_bytes())
    assert shown.shape == (number, 12 * 16, 2 * 16 * 16, 3)
    with Image.open(out / f"{key}.png") as sheet:
        assert sheet.height == 2 * (72 + 3)


def test_a_folder_of_videos_gives_scenes_of_each(tmp_path: Path, tiny_set: str) -> None:
    for name, level in (("a", 30), ("b", 220)):
        write_video(tmp_path / f"{name}.mkv", [np.full((16, 16, 3), level, np.uint8)] * 3)
    loaded = object.__new__(LoadedModel)
    object.__setattr__(loaded, "config", type("Run", (), {"data": DataConfig(tiny_set)})())
    scenes = list(command.scenes_of_footage(loaded, str(tmp_path), 5, 2))
    assert [(scene.key, len(scene.frames)) for scene in scenes] == [("a-00", 2), ("b-01", 2)]
    assert scenes[0].frames.mean() < 0.2 < 0.8 < scenes[1].frames.mean()
    assert len(list(command.scenes_of_footage(loaded, str(tmp_path), 1, 2))) == 1


PAGE = """<video src="film.mp4" muted autoplay></video><canvas width=1 height=1></canvas><script>
const video = document.querySelector("video"), pen = document.querySelector("canvas").getContext("2d");
const tell = state => fetch("found", {method: "POST", body: JSON.stringify(state)});
video.addEventListener("error", () => tell({error: video.error.message}));
video.addEventListener("ended", () => {
    pen.drawImage(video, 0, 0, 1, 1);
    const last = [...pen.getImageData(0, 0, 1, 1).data];
    tell({size: [video.videoWidth, video.videoHeight], seconds: video.duration, last});
});
</script>"""


@pytest.mark.service
def test_a_browser_plays_the_film(tmp_path: Path) -> None:
    """Chromium decodes it to the end, at its rate, and shows the colours that went in."""
    require("chromium")
    colours = np.repeat(np.array([[200, 40, 40], [40, 40, 200]], np.uint8), 15, axis=0)
    files = {
        "/": ("text/html", PAGE.encode()),
        "/film.mp4": ("video/mp4", mp4([np.broadcast_to(c, (64, 128, 3)).copy() for c in colours], 30.0)),
    }
    told: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, data = files.get(self.path, ("text/plain", b""))
            self.send_response(200 if self.path in files else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return None

    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    options += [
        "--autoplay-policy=no-user-gesture-required",
        "--no-first-run",
        "--disable-background-networking",
    ]
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        browser = subprocess.Popen(["chromium", *options, address], stderr=subprocess.DEVNULL)
        try:
            state = told.get(timeout=60)
        finally:
            browser.terminate()
            browser.wait(30)
            server.shutdown()
    assert state.get("size") == [128, 64], state
    assert state["seconds"] == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(state["last"][:3], [40, 40, 200], atol=12)


def test_a_model_without_flow_is_named(tmp_path: Path, tiny_set: str) -> None:
    run = save_run(tmp_path / "run", tiny_set)
    with pytest.raises(ValueError, match="has no flow; train one that has, such as ae-convlstm-flow"):
        commands.main(["flow", run, tiny_set, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


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
