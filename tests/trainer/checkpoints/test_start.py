"""A run that begins from the weights of another: what it takes over, what it refuses, when it looks."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from data_shards.storage.store import StorageError
from monitoring.run_state import RunState
from tests.launch import TINY, losses
from trainer.checkpoints.checkpoint import CONFIG, FOLDER, MANIFEST
from trainer.checkpoints.load import load_model
from trainer.config import RunConfig
from trainer.loop import Result, train
from trainer.overrides import resolve, validated

pytestmark = pytest.mark.usefixtures("alone")

STILL = ("optim.name=sgd", "optim.lr=1e-60", "steps=1")  # a step that moves no weight, not even one of zero


def run(output: Path, data: str, *words: str) -> Result:
    common = [*TINY, "checkpoint.steps=1", "optim.decay=constant", f"data.url={data}", f"output={output}"]
    return train(resolve("demo", [*common, *words]))


def weights(url: str | Path) -> dict[str, torch.Tensor]:
    return load_model(str(url)).model.state_dict()


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize(("tail", "step"), [("", 2), (f"/{FOLDER}/step-00000001", 1)])
def test_a_run_begins_from_the_weights_of_a_run_or_a_checkpoint(
    trained: Path, data: str, tmp_path: Path, tail: str, step: int
) -> None:
    result = run(tmp_path, data, f"start={trained}{tail}", "seed=1", *STILL)
    assert (result.state, result.step) == (RunState.FINISHED, 1), "its steps are counted from 0"
    assert_equal(weights(tmp_path), weights(trained / FOLDER / f"step-{step:08d}"))
    assert json.loads((tmp_path / CONFIG).read_text())["config"]["start"] == f"{trained}{tail}"


def test_the_optimiser_begins_anew(trained: Path, data: str, tmp_path: Path) -> None:
    """RMSprop's first step from s = 0 is lr g / sqrt(0.01 g^2): ten times the rate, whatever the gradient."""
    run(tmp_path, data, f"start={trained}", "steps=1", "seed=1", "optim.lr=1e-3", "optim.eps=1e-14")
    ours, theirs = weights(tmp_path), weights(trained)
    moves = torch.cat([(value - theirs[name]).abs().flatten() for name, value in ours.items()])
    assert float(moves.max()) == pytest.approx(1e-2, rel=1e-3)
    assert float(moves.median()) > 0.99e-2, "with the state of two steps before it would be 0.6e-2"


def test_a_resume_does_not_look_at_start(
    trained: Path, data: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(trained, tmp_path / "other")
    run(mine, data, "steps=2", f"start={tmp_path / 'other'}", "seed=1")
    straight = shutil.copytree(mine, tmp_path / "straight")
    run(straight, data, "steps=4", f"start={tmp_path / 'other'}", "seed=1")
    shutil.rmtree(tmp_path / "other")
    run(mine, data, "steps=3", f"start={tmp_path / 'other'}", "seed=1")
    run(mine, data, "steps=4", "seed=1")
    assert not caplog.records, "it is no setting of the steps to come"
    assert losses(mine) == losses(straight)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["start={at}/none"], r"field start: .*/none: no complete checkpoint there; have steps none"),
        (["start={at}/checkpoints/step-00000007"], r"no complete checkpoint there; have steps \[1, 2\]"),
        (["start={run}"], r"field start: .*: no complete checkpoint there; have steps none"),
        (
            ["start={at}", "model.hidden=12"],
            r"field start: field model\.hidden: got 12, saved with 8: the weights of .*step-00000002 do not fit "
            r"\(.*: \[.*\] there, \[.*\] here\); start with what was saved or from other weights",
        ),
        (
            ["start={at}", 'model={{"name":"ae-convlstm","channels":3}}'],
            r"field model\.name: got ae-convlstm, saved with object-discovery",
        ),
    ],
)
def test_weights_that_cannot_be_begun_from_are_refused_before_anything_is_written(
    trained: Path, data: str, tmp_path: Path, words: list[str], told: str
) -> None:
    with pytest.raises(ValueError, match=told) as refusal:
        run(tmp_path / "run", data, *(word.format(at=trained, run=tmp_path / "run") for word in words))
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_a_damaged_start_is_told(trained: Path, data: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    path = next((copy / FOLDER / "step-00000002").rglob("weights.pt"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match=rf"^{path}: is damaged"):
        run(tmp_path / "run", data, f"start={copy}")
    assert not (tmp_path / "run").exists()


def test_a_config_from_before_there_were_these_fields_keeps_its_digest() -> None:
    before = Path(__file__).parents[2] / "fixtures" / "before_rooms"
    for name in ("objects", "flow"):
        (path,) = (before / name / FOLDER).glob(f"*/{MANIFEST}")
        saved = json.loads(path.read_text())
        config = validated(saved["config"], RunConfig)
        assert (config.start, config.batch.frames) == (None, None)
        assert config.digest() == saved["digest"]
        assert config.model_copy(update={"start": "runs/other"}).digest() != saved["digest"]
        assert (
            validated(saved["config"] | {"batch": {"size": 4, "frames": 3}}, RunConfig).digest()
            != saved["digest"]
        )
