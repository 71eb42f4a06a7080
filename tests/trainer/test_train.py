"""train() in this process: what it refuses and leaves untouched, what a resume may change, what it never saves."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data_shards.sources.camvid import CamVid
from data_shards.storage.folder import FolderStore
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError
from data_shards.writer import build
from monitoring.exporter import Exporter
from monitoring.run_state import RunState
from tests.clips import build_numbered
from tests.data_shards.test_camvid import write_camvid
from tests.data_shards.test_scratch import left_by_a_dead_process
from tests.launch import TINY, lines, losses
from trainer import flops, loop
from trainer.checkpoints.checkpoint import FOLDER, MANIFEST, read_checkpoint, steps_on
from trainer.checkpoints.saver import Saver
from trainer.evaluation import scoring
from trainer.flops import Work
from trainer.loop import Result, Run, train
from trainer.overrides import resolve
from trainer.process_group import ProcessGroup
from trainer.telemetry import Telemetry

pytestmark = pytest.mark.usefixtures("alone")


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


@pytest.mark.parametrize("word", ["streams=3", "block=2"])
def test_a_resume_in_another_order_says_so(
    copy: Path, data: str, caplog: pytest.LogCaptureFixture, word: str
) -> None:
    run(copy, data, "steps=3", f"data.{word}", "optim.decay=constant")
    assert f"field data.{word.replace('=', ': got ')}, saved with" in caplog.text


def test_a_resume_of_a_run_from_before_the_order_of_today_says_so(
    copy: Path, data: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = copy / FOLDER / "step-00000002" / MANIFEST
    tree = json.loads(path.read_text())
    assert tree.pop("data")
    tree.pop("sum")
    path.write_text(json.dumps(tree))
    run(copy, data, "steps=3")
    assert "clips come in another order than in the version that saved it" in caplog.text


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


def test_a_damaged_state_is_told_and_an_earlier_checkpoint_is_gone_on_from(
    copy: Path, data: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = next((copy / FOLDER / "step-00000002").rglob("mp_rank_00_model_states.pt"))
    path.write_bytes(path.read_bytes()[:-1])
    assert run(copy, data, "steps=3").step == 3
    told = next(record.getMessage() for record in caplog.records if str(path) in record.getMessage())
    assert told.startswith(f"{path}: is damaged: ")
    assert told.endswith("it is left as it is, and the run goes on from step 1")
    assert [line["step"] for line in lines(copy) if "loss" in line][-2:] == [2, 3]


@pytest.mark.parametrize(
    "forged", ["set/manifest.json", "set/*.index.npz", "run/checkpoints/step-00000002/checkpoint.json"]
)
def test_what_is_forged_is_told_before_a_process_group_is_made(
    forged: str, copy: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With that DeepSpeed is loaded, which takes a second."""
    monkeypatch.setattr(loop, "start_processes", None)
    shutil.copytree(data, tmp_path / "set")
    shutil.rmtree(copy / FOLDER / "step-00000001")  # it would be gone on from
    for path in tmp_path.glob(forged):
        path.write_text("[" * 1000)
    with pytest.raises(StorageError, match=f"^{tmp_path}/{forged.replace('*', '.*')}: is "):
        run(copy, str(tmp_path / "set"), "steps=3")


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
    manifest.pop("sum")
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


class Refusing(FolderStore):
    """Takes no object of a checkpoint whose name contains one of `words`."""

    words: tuple[str, ...] = ()

    def put(self, name: str, source: bytes | Path, if_absent: bool = False) -> None:
        if any(word in name for word in self.words):
            raise OSError(f"no space for {name}")
        super().put(name, source, if_absent)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refusing:
    """The store of the run in `tmp_path`, to make refuse."""
    found = Refusing(str(tmp_path / "run"), tmp_path / "run")
    monkeypatch.setattr(loop, "open_store", lambda url: found)
    return found


def test_a_run_outlives_an_upload_that_fails(
    store: Refusing, data: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.words = ("step-00000001",)
    assert run(tmp_path / "run", data, "steps=3").state is RunState.FINISHED
    assert steps_on(store) == [2, 3]
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("the save of step 1 failed on rank 0 (OSError: no space")


def test_a_run_whose_saves_all_fail_ends_early(store: Refusing, data: str, tmp_path: Path) -> None:
    store.words = (FOLDER,)
    with pytest.raises(OSError, match="no space"):
        run(tmp_path / "run", data, "steps=40", "checkpoint.steps=2")
    assert max(losses(tmp_path / "run")) < 20


def test_a_stop_saves_although_the_save_before_has_failed(store: Refusing, data: str, tmp_path: Path) -> None:
    store.words = ("step-00000002", "step-00000004")
    answers = iter([False] * 4 + [True])
    words = [*TINY, "checkpoint.steps=2", f"data.url={data}", f"output={tmp_path / 'run'}", "steps=9"]
    slow = Saver.save

    def waited(saver: Saver, *arguments: Any) -> float:
        """So that what has become of the save is known in the step after, and not in one of chance."""
        seconds = slow(saver, *arguments)
        assert saver._upload is not None
        saver._upload.join(60)
        return seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Saver, "save", waited)
        result = train(resolve("demo", words), stopping=lambda: next(answers))
    assert (result.state, result.step) == (RunState.INTERRUPTED, 5)
    assert steps_on(store) == [5]


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, str]]:
    """Every (name, value, value of its label) that the exporter is told from here on."""
    seen: list[tuple[str, float, str]] = []
    observe = Exporter.observe

    def spy(exporter: Exporter, name: str, value: float, **labels: str) -> None:
        seen.append((name, value, "".join(labels.values())))
        observe(exporter, name, value, **labels)

    monkeypatch.setattr(Exporter, "observe", spy)
    return seen


def values(observed: list[tuple[str, float, str]], name: str, label: str = "") -> list[float]:
    return [value for told, value, of in observed if (told, of) == (f"commonfate_{name}", label)]


def test_a_checkpoint_is_told_once_and_when_it_is_complete(
    observed: list[tuple[str, float, str]], data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, saved = [], Telemetry.saved

    def complete(telemetry: Telemetry, step: int, seconds: float, size: int) -> None:
        told.append((step, step in steps_on(open_store(str(tmp_path)))))
        saved(telemetry, step, seconds, size)

    monkeypatch.setattr(Telemetry, "saved", complete)
    run(tmp_path, data, "steps=3", "checkpoint.keep=3")
    assert told == [(1, True), (2, True), (3, True)]
    assert values(observed, "checkpoint_last_step") == [0, 1, 2, 3]  # none yet, and each
    sizes = [
        sum(size for size, _ in read_checkpoint(open_store(str(tmp_path)), step).files.values())
        for step in (1, 2, 3)
    ]
    assert values(observed, "checkpoint_bytes") == sizes
    stalls, totals = (values(observed, "checkpoint_save_seconds", part) for part in ("stall", "total"))
    assert len(stalls) == len(totals) == 3
    assert all(0 < stall < total for stall, total in zip(stalls, totals, strict=True))


def test_lines_and_series_of_a_run_to_the_number(
    observed: list[tuple[str, float, str]], data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 clips, 4 a step, in micro-batches of 2 whose forward pass has 1000 FLOPs on a device of 1e6 a second."""
    monkeypatch.setattr(flops, "forward_flops", lambda model, video, step: 1000.0)
    monkeypatch.setattr(flops, "peak_flops", lambda device, dtype: 1e6)
    run(tmp_path, data, "steps=3", "optim.lr=0.5", "optim.warmup_steps=0", "optim.decay=constant")
    written = lines(tmp_path)
    assert [line["step"] for line in written] == [1, 2, 3]
    assert [line["epoch"] for line in written] == values(observed, "epoch") == [0.5, 1.0, 1.5]
    assert [line["lr"] for line in written] == [0.5] * 3
    for line in written:
        # Backward costs twice what forward does.
        assert line["mfu"] == pytest.approx(3 * 2 * 1000 / line["step_s"] / 1e6)
        assert line["samples_per_s"] == pytest.approx(4 / line["step_s"])
    assert values(observed, "samples_total") == [0, 4, 4, 4]


def test_the_clock_of_a_run_goes_on_in_a_resume(copy: Path, data: str) -> None:
    def progress(step: int) -> dict[str, Any]:
        return read_checkpoint(open_store(str(copy)), step).progress

    before = progress(2)
    run(copy, data, "steps=3")
    after = progress(3)
    assert after["first_start"] == before["first_start"]
    assert all(after["seconds"][name] >= seconds for name, seconds in before["seconds"].items())


def test_a_resume_leaves_no_folders_and_removes_those_of_killed_ones(
    copy: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    monkeypatch.setattr(tempfile, "tempdir", str(local))
    local.mkdir()
    left_by_a_dead_process("resume")
    left_by_a_dead_process("save")
    run(copy, data, "steps=3")
    assert not list(local.glob("commonfate-resume-*"))
    assert not list(local.glob("commonfate-save-*"))


def test_ranks_whose_weights_differ_end_the_run(
    observed: list[tuple[str, float, str]], data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = iter([0.0, 0.0, 1e-9])  # at the start all agree on what to go on from
    monkeypatch.setattr(ProcessGroup, "gather", lambda group, row: torch.stack([row, row + next(off)]))
    with pytest.raises(RuntimeError, match="ranks hold different weights at step 4: "):
        run(tmp_path, data, "steps=9", "checkpoint.steps=9", "engine.hash_steps=2")
    assert values(observed, "weights_divergence") == [0, 1]


def test_weights_that_are_not_finite_are_told_as_that(data: str, tmp_path: Path) -> None:
    words = ("optim.name=sgd", "optim.lr=3e38", "optim.weight_decay=1000", "optim.warmup_steps=0")
    with pytest.raises(FloatingPointError, match=r"^weights are not finite after step 1; lower optim\.lr or"):
        run(tmp_path, data, "steps=9", "checkpoint.steps=9", "engine.hash_steps=1", *words)


def test_an_evaluation_that_fails_comes_after_the_save(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError(steps_on(open_store(str(tmp_path))))

    monkeypatch.setattr(loop, "evaluate", fail)
    abandoned: list[Saver] = []
    monkeypatch.setattr(Saver, "abandon", lambda saver: abandoned.append(saver))
    with pytest.raises(MemoryError, match=r"^\[1, 2\]$"):
        run(tmp_path, data, "steps=3", "evaluation.split=train", "evaluation.steps=2")
    assert len(abandoned) == 1, "of a run that fails, nothing waits for other ranks"


def test_a_stop_saves_and_does_not_evaluate(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "evaluate", None)
    words = [*TINY, "evaluation.split=train", "evaluation.steps=1", f"data.url={data}", f"output={tmp_path}"]
    result = train(resolve("demo", words), stopping=lambda: True)
    assert (result.state, result.step) == (RunState.INTERRUPTED, 1)
    assert steps_on(open_store(str(tmp_path))) == [1]


@pytest.mark.parametrize(("stopped", "state"), [(False, RunState.FINISHED), (True, RunState.INTERRUPTED)])
def test_a_run_that_has_enough_has_finished_unless_it_was_stopped_too(
    data: str, tmp_path: Path, stopped: bool, state: RunState
) -> None:
    words = [*TINY, f"data.url={data}", f"output={tmp_path}"]
    answers = iter([False, True])
    asked = iter([False, stopped])
    config = resolve("demo", words)
    result = train(config, enough=lambda: next(answers), stopping=lambda: next(asked))
    assert (result.state, result.step) == (state, 2)
    assert steps_on(open_store(str(tmp_path))) == [2]


@pytest.mark.parametrize("killed_at", [2, 4])
def test_scores_that_a_kill_has_prevented_are_made_in_the_resume(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    words = ("steps=4", "checkpoint.steps=2", "evaluation.split=train", "evaluation.steps=2")
    run(tmp_path / "straight", data, *words)
    evaluate = scoring.evaluate

    def die(model: Any, videos: Any, step: int, *rest: Any, **named: Any) -> Any:
        if step == killed_at:
            raise KeyboardInterrupt
        return evaluate(model, videos, step, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", die)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", data, *words)
    assert killed_at not in scores(tmp_path / "killed")
    assert run(tmp_path / "killed", data, *words).step == 4
    assert scores(tmp_path / "killed") == scores(tmp_path / "straight")
    before = content(tmp_path / "killed")
    run(tmp_path / "killed", data, *words)
    assert content(tmp_path / "killed") == before, "a run that is over and scored"


def scores(run: Path) -> dict[int, object]:
    return {int(str(line["step"])): line["scores"] for line in lines(run) if "scores" in line}


def test_a_run_that_is_over_is_told_and_left_as_it_is(
    copy: Path, data: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = content(copy)
    assert run(copy, data, "steps=1", "optim.lr=0.5").step == 2
    assert f"{copy} is at step 2 already; raise `steps` to train on" in caplog.text
    assert content(copy) == before


def test_the_time_of_a_step_has_no_saves_and_no_evaluations_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(tmp_path / "set")
    build_numbered(data, 8, 4, size=16, channels=3)

    def slow(plain: Callable[..., None]) -> Callable[..., None]:
        def slowed(*args: object, **named: object) -> None:
            time.sleep(2)
            plain(*args, **named)

        return slowed

    for owner, name in ((Run, "_save"), (Run, "_evaluate"), (Work, "count")):
        monkeypatch.setattr(owner, name, slow(getattr(owner, name)))
    run(tmp_path / "run", data, "steps=2", "evaluation.steps=1", "log_steps=1", "checkpoint.steps=2")
    told = [line["step_s"] for line in lines(tmp_path / "run") if "step_s" in line]
    assert len(told) == 2
    assert max(told) < 2  # the first begins with a measurement, and an evaluation lies between the two


def test_the_line_of_a_stop_has_all_that_a_logged_line_has(data: str, tmp_path: Path) -> None:
    """Signs of health too, though nobody could know before the step that its line would be written."""
    words = [*TINY, f"data.url={data}", f"output={tmp_path / 'run'}", "steps=9", "log_steps=2"]
    answers = iter([False, False, True])
    assert train(resolve("demo", words), stopping=lambda: next(answers)).step == 3
    logged, stopped = lines(tmp_path / "run")
    assert (logged["step"], stopped["step"]) == (2, 3)
    assert "slot_active" in stopped["terms"]
    assert stopped["terms"].keys() == logged["terms"].keys()
