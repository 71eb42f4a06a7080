"""`python -m trainer export`: the folder, its card, and a run that begins from it."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from data_shards.exits import exit_code
from data_shards.storage.place import open_store
from tests.saved_run import TINY, save_run
from trainer import __main__ as commands
from trainer.checkpoints.load import load_model
from trainer.checkpoints.weights import start_from
from trainer.evaluation.stored import stored_evaluation
from trainer.process_group import ProcessGroup


@pytest.fixture
def run(tmp_path: Path, tiny_set: str) -> str:
    return save_run(tmp_path / "run", tiny_set)


def export(*words: str) -> int:
    return exit_code(lambda: commands.main(["export", *words]))


def test_the_folder_and_its_card(
    tmp_path: Path, run: str, tiny_set: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert export(run, "--out", str(out), "--licence", "mit", "--split", "test") == 0
    assert re.fullmatch(rf"export: {out} \([\d.]+ MB\)\n", capsys.readouterr().out)
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    text = (out / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["license"] == "mit"
    assert facts["library_name"] == "commonfate"
    loaded = load_model(run)
    result = stored_evaluation(open_store(run), loaded, tiny_set, "test", 200)
    assert result is not None  # it is kept beside the run
    (entry,) = facts["model-index"][0]["results"]
    assert {metric["type"]: metric["value"] for metric in entry["metrics"]} == result.scores
    assert entry["dataset"] == {"type": "other", "name": tiny_set, "split": "test"}
    psnr = result.scores["psnr"]
    untrained = result.tables["untrained"]["psnr"].mean
    still = result.tables["copy-last"]["psnr"].mean
    assert f"| psnr (dB) ↑ | {psnr:.2f} | {untrained:.2f} | {still:.2f} |" in body
    for told in ("- seed: 0", "- code: 0123abc", f"{tiny_set}: sprites"):
        assert told in body
    config = json.loads(body.split("```json\n")[1].split("```")[0])
    assert config == loaded.config.model_dump(mode="json")


def test_a_stored_evaluation_is_not_made_again(
    tmp_path: Path, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(run, "--out", str(tmp_path / "a")) == 0
    monkeypatch.setattr("trainer.commands.export.evaluate_on", lambda *_: pytest.fail("scored again"))
    assert export(run, "--out", str(tmp_path / "b")) == 0
    assert (tmp_path / "a" / "README.md").read_bytes() == (tmp_path / "b" / "README.md").read_bytes()


def test_what_takes_a_run_takes_the_folder(
    tmp_path: Path, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "model")
    assert export(run, "--out", out) == 0
    capsys.readouterr()
    tables = []
    for place in (run, out):
        assert commands.main(["evaluate", place, "--split", "val"]) == 0
        tables.append(capsys.readouterr().out.split("\n", 1)[1])
    assert tables[0] == tables[1]
    torch.manual_seed(5)
    model, config = TINY.build(), load_model(run).config
    start_from(out, model, config, ProcessGroup(0, 1, 0, torch.device("cpu")))
    for name, value in load_model(run).model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{}/none", "--out", "{}/out"], "none: no complete checkpoint there"),
        (["{}/run", "--out", "{}/run"], "run is there already; remove it or name another --out"),
        (["{}/run", "--out", "{}/out", "--limit", "0"], "--limit: got 0"),
        (["{}/run", "--out", "{}/out", "--licence", " "], "--licence: got ' '"),
        (["{}/run", "--out", "{}/out", "--split", "nosuch"], "nosuch"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    tmp_path: Path, run: str, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert export(*[word.format(tmp_path) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))
