"""Chains of runs: what each begins from, what ends it, and that a kill changes nothing."""

import json
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data_shards.sources.sprites import Sprites
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError
from data_shards.writer import build
from monitoring.run_state import RunState
from tests.launch import TINY, losses
from trainer.chain import RECORD, Collapse, train
from trainer.checkpoints.checkpoint import CONFIG, FOLDER, steps_on
from trainer.checkpoints.load import load_model
from trainer.loop import Result
from trainer.overrides import resolve

pytestmark = pytest.mark.usefixtures("alone")

Line = dict[str, Any]
Stages = list[dict[str, Any]]
STILL: dict[str, Any] = {"optim.name": "sgd", "optim.lr": 1e-30}  # steps that move no weight
SHORT: dict[str, Any] = {"overrides": {"batch.frames": 3, "steps": 3}}
LONG: dict[str, Any] = {"overrides": {"batch.frames": 6, "steps": 2}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Clips of six frames."""
    url = str(tmp_path_factory.mktemp("clips") / "set")
    build("sprites", Sprites(size=16, frames=6, objects=2), url, {"train": 8, "val": 4}, seed=0)
    return url


def run(output: Path, data: str, stages: Stages, *words: str, **hooks: Any) -> Result:
    common = [*TINY, "checkpoint.steps=2", "optim.decay=constant", f"data.url={data}", f"output={output}"]
    return train(resolve("demo", [*common, f"stages={json.dumps(stages)}", *words]), **hooks)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(str(run)).model.state_dict()


def equal(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(v, theirs[name]) for name, v in ours.items())


def steps(run: Path) -> list[int]:
    return steps_on(open_store(str(run)))


def config(run: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((run / CONFIG).read_text())["config"]
    return tree


def record(output: Path) -> dict[str, dict[str, str]]:
    tree: dict[str, dict[str, str]] = json.loads((output / RECORD).read_text())
    return tree


def test_a_stage_begins_from_the_weights_of_the_last(data: str, tmp_path: Path) -> None:
    still = {"overrides": LONG["overrides"] | STILL}
    result = run(tmp_path, data, [SHORT, still])
    assert (result.state, result.step, result.output) == (RunState.FINISHED, 2, str(tmp_path))
    first, second = tmp_path / "stage-00", tmp_path / "stage-01"
    assert sorted(losses(first)) == [1, 2, 3]
    assert sorted(losses(second)) == [1, 2]
    assert equal(first, second)
    assert (config(first)["start"], config(second)["start"]) == (None, f"{first}/{FOLDER}/step-00000003")
    assert [config(each)["batch"]["frames"] for each in (first, second)] == [3, 6]
    assert record(tmp_path) == {
        "stage-00": {"outcome": "done", "why": "3 steps"},
        "stage-01": {"outcome": "done", "why": "2 steps"},
    }
    assert len(config(tmp_path)["stages"]) == 2, "its own config starts it again"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run(tmp_path, data, [SHORT, still]).state is RunState.FINISHED
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_chain_of_one_stage_is_the_run(data: str, tmp_path: Path) -> None:
    run(tmp_path / "chain", data, [SHORT])
    run(tmp_path / "run", data, [], "batch.frames=3", "steps=3")
    assert losses(tmp_path / "chain" / "stage-00") == losses(tmp_path / "run")
    assert equal(tmp_path / "chain" / "stage-00", tmp_path / "run")
    run(
        tmp_path / "started",
        data,
        [SHORT | {"overrides": SHORT["overrides"] | STILL}],
        f"start={tmp_path}/run",
    )
    assert equal(tmp_path / "started" / "stage-00", tmp_path / "run")


def test_a_stage_ends_at_the_step_after_its_rule_has_held(data: str, tmp_path: Path) -> None:
    run(tmp_path / "straight", data, [{"overrides": {"steps": 6}}])
    curve = losses(tmp_path / "straight" / "stage-00")
    bound = (curve[1] + curve[2]) / 2
    falls = (
        {"metric": "loss", "below": bound} if curve[2] < curve[1] else {"metric": "loss", "at_least": bound}
    )
    result = run(tmp_path / "ended", data, [{"overrides": {"steps": 6}, "until": falls}, LONG])
    assert result.state is RunState.FINISHED
    first = tmp_path / "ended" / "stage-00"
    assert losses(first) == {step: curve[step] for step in (1, 2, 3)}
    assert steps(first)[-1] == 3
    assert record(tmp_path / "ended")["stage-00"]["why"].endswith("at step 2")


class Killed(BaseException):
    """The end of a process that nobody asked."""


def after(count: int) -> Callable[[Line], None]:
    """A report that kills with the line of that number."""
    left = iter(range(count))

    def report(line: Line) -> None:
        if next(left, None) is None:
            raise Killed

    return report


# Ends at step 4, with the scores of step 3, which come after the checkpoint of step 3; then two steps more.
SCORED: Stages = [
    {
        "overrides": {"batch.frames": 3, "steps": 9},
        "until": {"metric": "scores.psnr", "at_least": 0, "after": 3},
    },
    {"overrides": {"steps": 2}},
]
WORDS = ("evaluation.steps=3", "checkpoint.steps=3", "log_steps=1")


@pytest.fixture(scope="module")
def straight(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of SCORED that nobody disturbed."""
    output = tmp_path_factory.mktemp("straight")
    assert run(output, data, SCORED, *WORDS).state is RunState.FINISHED
    assert steps(output / "stage-00") == [3, 4]
    return output


def assert_same(output: Path, straight: Path) -> None:
    for stage in ("stage-00", "stage-01"):
        assert losses(output / stage) == losses(straight / stage)
        assert steps(output / stage)[-1] == steps(straight / stage)[-1]
    assert equal(output / "stage-01", straight / "stage-01")
    assert record(output) == record(straight)


@pytest.mark.parametrize(
    "count", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1, 2, 3, 5, 6, 7))]
)
def test_a_chain_that_is_killed_with_a_line_ends_as_if_it_was_not(
    data: str, tmp_path: Path, straight: Path, count: int
) -> None:
    with pytest.raises(Killed):
        run(tmp_path, data, SCORED, *WORDS, report=after(count))
    assert run(tmp_path, data, SCORED, *WORDS).state is RunState.FINISHED
    assert_same(tmp_path, straight)


# What dies, and with which of its calls.
POINTS = {
    "before the scores that end the first stage": ("trainer.loop.evaluate", 0),
    "before that it has ended is recorded": ("trainer.chain.Chain._record", 0),
    "after": ("trainer.chain.Chain._begin", 1),
    "before the second begins": ("trainer.loop.train", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_chain_that_is_killed_between_ends_as_if_it_was_not(
    data: str, tmp_path: Path, straight: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    calls = iter(range(100))
    where, last = POINTS[point]
    module, _, name = where.rpartition(".")
    plain = getattr(pkgutil.resolve_name(module), name)

    def die(*given: Any, **named: Any) -> Any:
        if next(calls) == last:
            raise Killed
        return plain(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(where, die)
        with pytest.raises(Killed):
            run(tmp_path, data, SCORED, *WORDS)
    assert run(tmp_path, data, SCORED, *WORDS).state is RunState.FINISHED
    assert_same(tmp_path, straight)


def test_a_chain_that_is_stopped_goes_on_where_it_was(data: str, tmp_path: Path, straight: Path) -> None:
    lines: list[Line] = []
    for wanted in (2, 5):  # once in each stage
        result = run(
            tmp_path,
            data,
            SCORED,
            *WORDS,
            report=lines.append,
            stopping=lambda wanted=wanted: len(lines) >= wanted,
        )
        assert result.state is RunState.INTERRUPTED
    assert run(tmp_path, data, SCORED, *WORDS).state is RunState.FINISHED
    assert_same(tmp_path, straight)


@pytest.mark.slow
def test_a_stop_with_the_step_that_ends_a_stage_is_a_stop(data: str, tmp_path: Path, straight: Path) -> None:
    lines: list[Line] = []
    result = run(
        tmp_path,
        data,
        SCORED,
        *WORDS,
        report=lines.append,
        stopping=lambda: any("scores" in line for line in lines),
    )
    assert (result.state, result.step) == (RunState.INTERRUPTED, 4)
    assert not (tmp_path / "stage-01").exists()
    assert run(tmp_path, data, SCORED, *WORDS).state is RunState.FINISHED
    assert_same(tmp_path, straight)


def test_a_line_that_a_stop_has_written_does_not_end_a_stage(data: str, tmp_path: Path) -> None:
    always = {"metric": "loss", "at_least": 0}
    stages: Stages = [{"overrides": {"steps": 6}, "until": always}]
    calls = iter(range(100))
    first = run(tmp_path, data, stages, "log_steps=2", stopping=lambda: next(calls) >= 1)
    assert (first.state, first.step) == (RunState.INTERRUPTED, 1)
    assert run(tmp_path, data, stages, "log_steps=2").step == 3, "the line of step 2, and not that of step 1"


@pytest.mark.slow
def test_a_stage_that_collapses_is_started_again_with_the_next_seed(
    data: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path / "look", data, [SHORT, LONG, LONG | {"overrides": LONG["overrides"] | {"seed": 1}}])
    first, other = (losses(tmp_path / "look" / stage)[1] for stage in ("stage-01", "stage-02"))
    caplog.clear()
    again = {"metric": "loss", "at_least": 0, "lines": 1}
    output = tmp_path / "chain"
    with pytest.raises(
        Collapse, match=r"stage-01-again-1 has collapsed \(loss at least 0 at step 1\); start it more"
    ):
        run(output, data, [SHORT, LONG | {"again": again, "attempts": 2}])
    assert (
        f"{output}/stage-01 has collapsed (loss at least 0 at step 1): going on in stage-01-again-1"
        in caplog.text
    )
    assert [config(output / each)["seed"] for each in ("stage-01", "stage-01-again-1")] == [0, 1]
    assert config(output / "stage-01")["start"] == config(output / "stage-01-again-1")["start"]
    assert losses(output / "stage-01")[1] == first
    assert losses(output / "stage-01-again-1")[1] != first
    assert other != first
    assert [each["outcome"] for each in record(output).values()] == ["done", "collapsed", "collapsed"]
    with pytest.raises(Collapse, match="stage-01-again-1 has collapsed"):  # and it stays so
        run(output, data, [SHORT, LONG | {"again": again, "attempts": 2}])
    # Given one more start, it takes the weights of the stage before the last, which are none.
    with pytest.raises(Collapse, match="stage-01-again-2 has collapsed"):
        run(output, data, [SHORT, LONG | {"again": again, "attempts": 3, "back": 1}])
    assert (config(output / "stage-01-again-2")["start"], config(output / "stage-01-again-2")["seed"]) == (
        None,
        2,
    )
    # A rule that is asked anew is asked of the last run: that has done its steps, and the chain is over.
    assert (
        run(output, data, [SHORT, LONG | {"again": again | {"after": 9}, "attempts": 3}]).state
        is RunState.FINISHED
    )
    assert record(output)["stage-01-again-2"] == {"outcome": "done", "why": "2 steps"}


def test_a_loss_that_is_not_finite_is_a_collapse(data: str, tmp_path: Path) -> None:
    wild = {"optim.name": "sgd", "optim.lr": 1e30, "optim.clip_norm": 0, "steps": 9}
    with pytest.raises(Collapse, match="stage-01-again-1 has collapsed"):
        run(tmp_path, data, [SHORT, {"overrides": wild, "attempts": 2}])
    assert set(record(tmp_path)) == {"stage-00", "stage-01", "stage-01-again-1"}
    assert "finite" in record(tmp_path)["stage-01"]["why"] or "nan" in record(tmp_path)["stage-01"]["why"]


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ([SHORT, {"overrides": {"batch.framez": 3}}], r"^stages\.1: field batch\.framez does not exist"),
        (
            [SHORT, {"overrides": {"batch.frames": 9}}],
            r"^stages\.1: field batch\.frames: got 9, but the clips of",
        ),
        (
            [SHORT, {"overrides": {"batch.size": 3}}],
            r"^stages\.1: field batch\.size: got 3, needs a multiple",
        ),
        ([SHORT, {"overrides": {"data.url": "none"}}], r"none"),
        (
            [SHORT, {"overrides": {"output": "x"}}],
            r"^stages\.1: overrides: output is the chain's, set it there",
        ),
        (
            [SHORT, {"overrides": {"model.hidden": 12}}],
            r"^stages\.1: its model does not fit the weights of the stage before \(.* there, .* here\)$",
        ),
        (
            [SHORT | {"until": {"metric": "scores.psnr", "at_least": 20}}],
            r"^stages\.0: until\.metric: got scores\.psnr, but evaluation\.steps is 0",
        ),
        (
            [SHORT | {"again": {"metric": "scores.psmr", "below": 20}}],
            r"^stages\.0: again\.metric: there is no score psmr \(did you mean psnr\?\)$",
        ),
    ],
)
def test_a_mistake_in_any_stage_is_told_before_anything_is_trained(
    data: str, tmp_path: Path, stages: Stages, told: str
) -> None:
    with pytest.raises((ValueError, StorageError), match=told) as refusal:
        run(tmp_path / "chain", data, stages)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "chain").exists()


def test_a_chain_that_is_refused_writes_nothing_and_takes_no_run_over(data: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no complete checkpoint there"):
        run(tmp_path / "chain", data, [SHORT], f"start={tmp_path}/nowhere")
    assert not (tmp_path / "chain" / CONFIG).exists()
    run(tmp_path / "plain", data, [], "steps=2")
    before = (tmp_path / "plain" / CONFIG).read_bytes()
    with pytest.raises(ValueError, match=r"^field output: .*plain holds a run of its own"):
        run(tmp_path / "plain", data, [SHORT])
    assert (tmp_path / "plain" / CONFIG).read_bytes() == before


def test_a_rule_about_what_is_not_measured_is_told_with_the_first_line(data: str, tmp_path: Path) -> None:
    stages: Stages = [SHORT | {"until": {"metric": "terms.slot_actve", "below": 1}}]
    with pytest.raises(
        ValueError, match=r"^stages\.0: until\.metric: got terms\.slot_actve, which is not measured; "
    ):
        run(tmp_path, data, stages)
    stages = [SHORT | {"until": {"metric": "terms.slot_active", "below": -1}}]
    assert run(tmp_path, data, stages).step == 3
