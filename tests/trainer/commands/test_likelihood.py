"""The command: Table 1 beside ours, and what it refuses."""

import json
from pathlib import Path

import pytest

from data_shards.exits import exit_code
from data_shards.sources.multi_mnist import MultiMnist
from data_shards.writer import build
from model.sqair.model import AIR
from model.vrnn.model import MLPVRNN
from tests.saved_run import save_run
from trainer.__main__ import main


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("digits") / "set")
    build("multi-mnist", MultiMnist(size=16, frames=4), url, {"train": 2, "test": 3}, seed=0)
    return url


def test_ours_stands_below_the_papers_rows(
    digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"size": 16, "hidden": 8}
    models = [AIR(glimpse=6, what=4, **small), MLPVRNN(latent=4, **small)]  # type: ignore[arg-type]
    runs = [save_run(tmp_path / str(i), digits, model=model) for i, model in enumerate(models)]
    out = tmp_path / "out.json"
    assert main(["likelihood", *runs, "--particles", "7", "--at-once", "3", "--json", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["CONV-SQAIR", "6784.8", "6923.8", "134.6", "0.9974"]
    found = json.loads(out.read_text())
    assert list(found) == runs
    for line, run in zip(lines[6:8], runs, strict=True):
        one = found[run]
        assert line.split()[:2] == [run, f"{one['log_evidence']:.1f}"]
        assert (one["clips"], one["particles"]) == (3, 7)
    assert found[runs[0]]["counting"] is not None
    assert found[runs[1]]["counting"] is None
    for told in (
        "16 x 16 x 1, not 50 x 50 x 1",
        "4 frames, not 10",
        "7 particles, not 1000",
        "3 clips, not 10,000",
    ):
        assert told in lines[-1]


def test_a_single_clip_has_no_standard_error(
    digits: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = save_run(tmp_path / "run", digits, model=MLPVRNN(latent=4, size=16, hidden=8))
    assert main(["likelihood", run, "--particles", "2", "--limit", "1"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("tested on 1 clips, not 10,000.")


def test_a_model_without_latents_is_a_sentence(
    tiny_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = save_run(tmp_path / "run", tiny_set)
    assert exit_code(lambda: main(["likelihood", run, "--limit", "1"])) == 2
    assert "gives no likelihood of clips" in capsys.readouterr().err
