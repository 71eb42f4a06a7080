"""batch.frames: how many first frames of each clip a step trains on, a function of the step."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data_shards.sources.sprites import Sprites
from data_shards.writer import build
from model.interface import Video
from tests.launch import TINY, lines, losses
from trainer import flops
from trainer.checkpoints.load import load_model
from trainer.engine import Engine
from trainer.evaluation import scoring
from trainer.loop import Result, train
from trainer.overrides import resolve

pytestmark = pytest.mark.usefixtures("alone")

STAIRS = '{"values":[3,4,6],"steps":[2,3]}'


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Clips of six frames."""
    url = str(tmp_path_factory.mktemp("clips") / "set")
    build("sprites", Sprites(size=16, frames=6, objects=2), url, {"train": 8, "val": 4}, seed=0)
    return url


def run(output: Path, data: str, *words: str, **hooks: Any) -> Result:
    common = [*TINY, "checkpoint.steps=1", "optim.decay=constant", f"data.url={data}", f"output={output}"]
    return train(resolve("demo", [*common, *words]), **hooks)


class Killed(BaseException):
    """The end of a process that nobody asked."""


def die_at(step: int) -> Callable[[dict[str, Any]], None]:
    def report(line: dict[str, Any]) -> None:
        if line["step"] == step:
            raise Killed

    return report


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(step, frames of a clip) of every forward pass of training from here on."""
    found: list[tuple[int, int]] = []
    forward = Engine.forward

    def spy(engine: Engine, video: Video, step: int) -> Any:
        found.append((step, video.frames.shape[1]))
        return forward(engine, video, step)

    monkeypatch.setattr(Engine, "forward", spy)
    return found


def test_a_step_trains_on_as_many_frames_as_its_number_says(
    seen: list[tuple[int, int]], data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    evaluate = scoring.evaluate

    def spy(model: Any, batches: Any, *rest: Any, **named: Any) -> Any:
        videos = list(batches)
        scored.extend(video.frames.shape[1] for video in videos)
        return evaluate(model, videos, *rest, **named)

    monkeypatch.setattr("trainer.loop.evaluate", spy)
    run(tmp_path, data, "steps=5", f"batch.frames={STAIRS}", "evaluation.steps=2")
    each = [3, 3, 4, 6, 6]
    assert seen == [(step, length) for step, length in enumerate(each) for _ in range(2)], "two micro-batches"
    assert set(scored) == {6}, "whole clips"


def test_a_resume_is_exact_on_either_side_of_a_jump(
    data: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    straight, words = tmp_path / "straight", ("steps=5", f"batch.frames={STAIRS}")
    run(straight, data, *words)
    for step in (1, 2, 3, 4):
        stopped = tmp_path / str(step)
        answers = iter([False] * (step - 1) + [True])
        assert run(stopped, data, *words, stopping=lambda answers=answers: next(answers)).step == step
        run(stopped, data, *words)
        assert losses(stopped) == losses(straight)
        ours, theirs = (load_model(str(url)).model.state_dict() for url in (stopped, straight))
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    killed = tmp_path / "killed"
    with pytest.raises(Killed):
        run(killed, data, *words, "checkpoint.steps=2", report=die_at(4))
    run(killed, data, *words, "checkpoint.steps=2")
    assert losses(killed) == losses(straight)
    assert not caplog.records
    whole = Path(shutil.copytree(tmp_path / "4", tmp_path / "whole"))
    run(whole, data, "steps=6")
    assert "field batch.frames: got None, saved with" in caplog.text


def test_a_number_of_frames_is_another_curve_than_whole_clips(data: str, tmp_path: Path) -> None:
    for name, words in {"six": ["batch.frames=6"], "all": [], "three": ["batch.frames=3"]}.items():
        run(tmp_path / name, data, "steps=2", *words)
    assert losses(tmp_path / "six") == losses(tmp_path / "all")
    assert losses(tmp_path / "three")[1] != losses(tmp_path / "all")[1]


def test_utilisation_follows_the_frames(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flops, "forward_flops", lambda model, video, step: 1000.0 * video.frames.shape[1])
    monkeypatch.setattr(flops, "peak_flops", lambda device, dtype: 1e6)
    run(tmp_path, data, "steps=5", f"batch.frames={STAIRS}", "log_steps=2")
    written = {line["step"]: line for line in lines(tmp_path)}
    # Two micro-batches; backward costs twice what forward does; means over the frames of the steps of the interval.
    for step, frames in {2: 3, 4: (4 + 6) / 2, 5: 6}.items():
        line: Any = written[step]
        assert line["mfu"] == pytest.approx(3 * 2 * 1000 * frames / line["step_s"] / 1e6)


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        ("7", r"^field batch\.frames: got 7, but the clips of .*set have 6 frames$"),
        ('{"values":[3,9],"steps":[100]}', r"^field batch\.frames: got 9, but the clips of"),
        ("1", r"^field batch\.frames: got 1: "),
        ('{"values":[6,1],"steps":[100]}', r"^field batch\.frames: got 1: "),
    ],
)
def test_frames_that_do_not_fit_are_told_before_anything_is_written(
    data: str, tmp_path: Path, frames: str, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        run(tmp_path / "run", data, "steps=1", f"batch.frames={frames}")
    assert not (tmp_path / "run").exists()
