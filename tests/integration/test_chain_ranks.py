"""A chain of stages on two ranks: a kill and Ctrl-C in one of its stages change nothing of what it comes to."""

import json
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.launch import Ranks, losses, start
from trainer.checkpoints.load import load_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STAGES = [{"overrides": {"batch.frames": 3, "steps": 3}}, {"overrides": {"steps": 25}}]


@pytest.fixture(scope="module")
def words(tiny_set: str) -> list[str]:
    stages = json.dumps(STAGES)
    return [f"data.url={tiny_set}", "optim.decay=constant", "checkpoint.steps=4", f"stages={stages}"]


@pytest.fixture(scope="module")
def undisturbed(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    chain = tmp_path_factory.mktemp("undisturbed") / "chain"
    start(chain, 2, words).wait()
    return chain


def in_the_second_stage(chain: Path, words: Sequence[str]) -> Ranks:
    """The processes of a chain when its second stage has saved once and is past it."""
    ranks = start(chain, 2, words)
    try:
        replace(ranks, run=chain / "stage-01").wait_for_step(6)
    except BaseException:
        ranks.kill()
        raise
    return ranks


def require_same(chain: Path, other: Path) -> None:
    for stage in ("stage-00", "stage-01"):
        assert losses(chain / stage) == losses(other / stage)
        ours, theirs = (load_model(str(run / stage)).model.state_dict() for run in (chain, other))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_rank_that_is_killed_costs_time_and_nothing_else(
    words: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    chain = tmp_path / "chain"
    ranks = in_the_second_stage(chain, words)
    ranks.processes[1].kill()
    ranks.kill()  # what a launcher does to the others
    assert max(losses(chain / "stage-01")) < 25, "it was over before it was killed"
    start(chain, 2, words).wait()
    require_same(chain, undisturbed)


def test_ctrl_c_in_a_stage_saves_and_another_start_goes_on(
    words: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    chain = tmp_path / "chain"
    ranks = in_the_second_stage(chain, words)
    for process in ranks.processes:  # as a terminal does
        process.send_signal(signal.SIGINT)
    try:
        assert [process.wait(120) for process in ranks.processes] == [130, 130], ranks.said()
    finally:
        ranks.kill()
    reached = max(losses(chain / "stage-01"))
    assert 6 <= reached < 25
    assert load_model(str(chain / "stage-01")).step == reached
    start(chain, 2, words).wait()
    require_same(chain, undisturbed)
