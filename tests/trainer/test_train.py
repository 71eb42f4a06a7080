"""train() in this process: what it refuses and leaves untouched, what a resume may change, what it never saves."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from data_shards.sources.camvid import CamVid
from data_shards.storage import StorageError, open_store
from data_shards.writer import build
from tests.clips import build_numbered
from tests.data_shards.test_camvid import write_camvid
from tests.launch import TINY, lines, losses
from trainer.checkpoint import FOLDER, MANIFEST, steps_on
from trainer.loop import Result, train
from trainer.overrides import resolve

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Clips as the model of TINY takes them; a train split alone."""
    url = str(tmp_path_factory.mktemp("clips") / "set")
    build_numbered(url, 8, size=16, channels=3)
    return url


@pytest.fixture(scope="module")
def trained(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with a checkpoint after each; tests copy it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(folder, data, "steps=2")
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def run(output: Path, data: str, *words: str) -> Result:
    common = [*TINY, "checkpoint.steps=1", f"data.url={data}", f"output={output}"]
    return train(resolve("demo", [*common, *words]))


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_makes_no_weights_may_change_in_a_resume(copy: Path, data: str) -> None:
    words = ("model.remat=sqrt", "model.consistency=0.5", "model.sparsity.end=0.5", "model.noise=0.5")
    assert run(copy, data, "steps=3", *words).step == 3
    assert sorted(losses(copy)) == [1, 2, 3]


def test_a_resume_with_other_settings_says_so(
    copy: Path, data: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved, other = str(tmp_path / "moved"), str(tmp_path / "other")
    shutil.copytree(data, moved)
    build_numbered(other, 16, size=16, channels=3)
    run(copy, moved, "steps=3", "optim.decay=constant")
    (told,) = [record.getMessage() for record in caplog.records]
    assert (
        told == "going on from step 2 with other settings: field optim.decay: got constant, saved with cosine"
    )
    caplog.clear()
    run(copy, moved, "steps=4", "optim.decay=constant")
    assert not caplog.records, "neither a place nor, at a constant rate, a last step is a setting"
    run(copy, other, "steps=5", "seed=1")
    (told,) = [record.getMessage() for record in caplog.records]
    assert "field seed: got 1, saved with 0" in told
    assert (
        f"steps: got 5, saved with 4; field data.url: {other} holds other clips than those trained on" in told
    )


def test_a_model_without_weights_is_refused(data: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^field model\.name: got copy-last, which has no weights to train"):
        run(tmp_path / "run", data, "model=copy-last", "steps=1")
    assert not (tmp_path / "run").exists()


def test_more_classes_than_the_model_has_are_told_before_anything_is_written(tmp_path: Path) -> None:
    write_camvid(tmp_path, "train", [f"A_{i:04d}" for i in range(3)])
    data = str(tmp_path / "set")
    build("camvid", CamVid(str(tmp_path), width=24, height=16, frames=1), data, {"train": 3}, seed=0)
    words = [f"data.url={data}", f"output={tmp_path / 'run'}", "model.classes=4", "model.class_weights=[]"]
    with pytest.raises(ValueError, match=rf"^field model\.classes: got 4, but {data} has 11 classes$"):
        train(resolve("camvid-segnet", [*words, "evaluation.steps=0", "steps=1"]))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.hidden=12", "model.remat=sqrt"], r"field model\.hidden: got 12, saved with 8"),
        (["model.kernel=5"], r"field model\.kernel: got 5, saved with 3"),
        (
            ['model={"name":"ae-convlstm","channels":3}'],
            r"field model\.name: got ae-convlstm, saved with object-discovery:",
        ),
        (["optim.name=sgd"], r"field optim\.name: got sgd, but .*step-00000002 was saved with rmsprop"),
        (["engine.zero_stage=1"], r"field engine\.zero_stage: got 1, but .*step-00000002 was saved with 0"),
    ],
)
def test_what_a_resume_cannot_take_over_is_refused(
    copy: Path, data: str, words: list[str], told: str
) -> None:
    before = content(copy)
    with pytest.raises(ValueError, match=told) as refusal:
        run(copy, data, "steps=3", *words)
    assert "resume with" in str(refusal.value)
    assert "start in another output" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert content(copy) == before


def test_a_damaged_state_is_told_and_an_earlier_checkpoint_is_gone_on_from(copy: Path, data: str) -> None:
    folder = copy / FOLDER / "step-00000002"
    path = next(folder.rglob("mp_rank_00_model_states.pt"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError) as told:
        run(copy, data, "steps=3")
    assert str(told.value).startswith(f"{path}: ")
    assert f"delete {folder} to go on" in str(told.value)
    shutil.rmtree(folder)
    assert run(copy, data, "steps=3").step == 3


def test_a_missing_evaluation_split_is_told_before_the_first_step(data: str, tmp_path: Path) -> None:
    words = ("steps=1", "evaluation.split=test")
    with pytest.raises(ValueError, match=r"field evaluation\.split: got test, but .* has only train; set"):
        run(tmp_path / "run", data, *words, "evaluation.steps=1")
    assert not (tmp_path / "run").exists()
    assert run(tmp_path / "run", data, *words, "evaluation.steps=0").step == 1


def test_clips_of_another_shape_are_refused_before_anything_is_written(
    copy: Path, data: str, tmp_path: Path
) -> None:
    other = str(tmp_path / "other")
    build_numbered(other, 8, size=8, channels=3)
    before = content(copy)
    for output in (copy, tmp_path / "new"):
        with pytest.raises(ValueError, match=rf"^{other}: "):
            run(output, other, "steps=3")
    assert content(copy) == before
    assert not (tmp_path / "new").exists()


def test_weights_ruined_by_the_last_step_are_not_saved(data: str, tmp_path: Path) -> None:
    words = ("optim.name=sgd", "optim.lr=3e38", "optim.weight_decay=1000", "optim.warmup_steps=0")
    with pytest.raises(FloatingPointError, match="not finite after step 1: the weights are not saved"):
        run(tmp_path, data, "steps=1", *words)
    assert [line["step"] for line in lines(tmp_path)] == [1], "the loss, of the weights before, was finite"
    assert steps_on(open_store(str(tmp_path))) == []


def ruin(folder: Path) -> None:
    """Fill the weights of the checkpoint in `folder` with NaN, and let its manifest know."""
    manifest = json.loads((folder / MANIFEST).read_text())
    name = next(name for name in manifest["files"] if name.endswith("mp_rank_00_model_states.pt"))
    state = torch.load(folder / name, weights_only=False)
    for value in state["module"].values():
        value.fill_(torch.nan)
    torch.save(state, folder / name)
    data = (folder / name).read_bytes()
    manifest["files"][name] = [len(data), hashlib.sha256(data).hexdigest()]
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("log_steps", [1, 50])
def test_a_loss_that_a_resume_finds_ruined_names_the_checkpoint(
    copy: Path, data: str, log_steps: int
) -> None:
    folder = copy / FOLDER / "step-00000002"
    ruin(folder)
    with pytest.raises(FloatingPointError, match=f"loss is nan at step 3, the first from {folder}; delete"):
        run(copy, data, "steps=9", "checkpoint.steps=9", f"log_steps={log_steps}")
    assert steps_on(open_store(str(copy))) == [1, 2]
    shutil.rmtree(folder)
    assert run(copy, data, "steps=3").step == 3
