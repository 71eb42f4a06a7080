"""Runs of two ranks that begin from the weights of another run, at every ZeRO stage."""

from pathlib import Path

import pytest
import torch

from tests.launch import losses, start
from trainer.checkpoints.load import load_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STILL = ("optim.name=sgd", "optim.lr=1e-30", "optim.decay=constant", "steps=1")  # a step that moves no weight


@pytest.fixture(scope="module")
def first(tiny_set: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("first") / "run"
    start(run, 1, [f"data.url={tiny_set}", "optim.decay=constant", "steps=3"]).wait()
    return run


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_all_ranks_begin_from_the_same_weights(
    first: Path, tiny_set: str, tmp_path: Path, stage: int
) -> None:
    run = tmp_path / "run"
    words = [f"data.url={tiny_set}", f"start={first}", f"engine.zero_stage={stage}", "engine.hash_steps=1"]
    start(run, 2, [*words, *STILL, "seed=1"]).wait()
    ours, theirs = (load_model(str(url)).model.state_dict() for url in (run, first))
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())
    assert sorted(losses(run)) == [1]


def test_a_refusal_is_told_by_all_ranks(first: Path, tiny_set: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ranks = start(run, 2, [f"data.url={tiny_set}", f"start={first}", "model.hidden=12"])
    try:
        assert [process.wait(120) for process in ranks.processes] == [2, 2], ranks.said()
    finally:
        ranks.kill()
    assert ranks.said().count("error: field start: field model.hidden: got 12, saved with 8") == 2
    assert not run.exists()
