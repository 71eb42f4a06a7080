"""What was written before the rooms of trainer/ were made trains on and scores as it did then.

`tests/fixtures/before_rooms` was made by revision 9508b08: a data set, and two runs of four steps each. `expected.json`
holds what that revision made of them: losses and terms up to step 8, the scores at steps 4 and 8, and the names and
shapes of the weights of every model at its defaults.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from model import MODELS
from tests.launch import lines
from trainer.checkpoints.load import load_model
from trainer.evaluation.scoring import evaluate_on
from trainer.loop import train
from trainer.overrides import resolve

FIXTURE = Path(__file__).parents[1] / "fixtures" / "before_rooms"
EXPECTED: dict[str, Any] = json.loads((FIXTURE / "expected.json").read_text())
RUNS = ("objects", "flow")
ROUNDING = 1e-5  # processors differ in the order that they add in; on one of a kind all digits agree


@pytest.fixture(params=RUNS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A copy to train on in."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "before"))


@pytest.mark.parametrize("model", list(EXPECTED["weights"]))
def test_weights_have_the_names_and_shapes_that_they_had(model: str) -> None:
    with torch.device("meta"):
        weights = MODELS[model]().build().state_dict()
    assert {key: list(value.shape) for key, value in weights.items()} == EXPECTED["weights"][model]


def test_a_checkpoint_scores_as_it_did(name: str) -> None:
    assert_scores(FIXTURE / name, FIXTURE / "data", EXPECTED[name]["scores_at_4"])


@pytest.mark.usefixtures("alone")
def test_a_run_goes_on_as_it_would_have(name: str, here: Path) -> None:
    run = here / name
    words = [f"data.url={here / 'data'}", f"output={run}", "steps=8", "checkpoint.steps=8"]
    assert train(resolve(None, words, file=str(run / "config.json"))).step == 8
    found = {str(line["step"]): line for line in lines(run) if "loss" in line}
    assert list(found) == [str(step) for step in range(1, 9)]
    for step, loss in EXPECTED[name]["losses"].items():
        assert found[step]["loss"] == pytest.approx(loss, rel=ROUNDING)
        terms = EXPECTED[name]["terms"][step]
        same = {term: found[step]["terms"][term] for term in terms}  # there may be new ones beside them
        assert same == pytest.approx(terms, rel=1e-3, abs=1e-9)
    assert_scores(run, here / "data", EXPECTED[name]["scores_at_8"])


def assert_scores(run: Path, data: Path, expected: dict[str, Any]) -> None:
    result = evaluate_on(load_model(str(run)), str(data), "val", torch.device("cpu"))
    # There are more contenders by now.
    assert [contender for contender in result.tables if contender in expected] == list(expected)
    for contender, rows in expected.items():
        assert list(result.tables[contender]) == list(rows)
        for score, curve in rows.items():
            found = result.tables[contender][score]
            assert found.counts == tuple(curve["counts"])
            for ours, theirs in zip(
                (found.mean, *found.means), (curve["mean"], *curve["means"]), strict=True
            ):
                assert ours is theirs is None or ours == pytest.approx(theirs, rel=ROUNDING)
