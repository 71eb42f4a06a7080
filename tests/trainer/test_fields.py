"""The list of a config's fields: words that `resolve` takes back, each with its type and meaning."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.__main__ import main
from trainer.config import RunConfig
from trainer.fields import WIDTH, listed_fields, listing
from trainer.overrides import resolve
from trainer.recipes import RECIPES

ROOT = Path(__file__).parents[2]


def words(text: str) -> list[str]:
    """What a shell hands on of a list."""
    return shlex.split(text, comments=True)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_word_is_taken_back(recipe: str) -> None:
    config = resolve(recipe)
    printed = words(listing(listed_fields(config)))
    assert resolve(recipe, printed) == config
    assert resolve("demo", printed) == config, "whichever recipe they start from"
    assert len(printed) == len(_leaves(config.model_dump(mode="json")))


def _leaves(tree: dict[str, object]) -> list[object]:
    """What has no fields of its own, or is given whole, as stairs are."""
    return [
        x
        for v in tree.values()
        for x in (_leaves(v) if isinstance(v, dict) and v.keys() != {"values", "steps"} else [v])
    ]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_field_has_its_type_and_meaning(recipe: str) -> None:
    for field in listed_fields(resolve(recipe)):
        assert field.meaning, field.path
        assert bool(field.kind) == bool(field.word), field.path
        assert "group" not in field.kind, field.path


@pytest.mark.parametrize(
    "output", ["2024", "null", '"quoted"', "[1]", "it's a folder", "a=b", "# no comment"]
)
def test_text_that_looks_like_something_else_stays_text(output: str) -> None:
    config = resolve("demo").model_copy(update={"output": output})
    assert resolve("demo", words(listing(listed_fields(config)))).output == output


def test_stairs_are_one_word() -> None:
    config = resolve("demo", ['batch.frames={"values":[3,5],"steps":[10]}'])
    assert resolve("demo", words(listing(listed_fields(config)))) == config
    assert resolve("demo", [*words(listing(listed_fields(config))), "batch.frames=4"]).batch.frames == 4


def test_stages_are_one_word() -> None:
    stages = '[{"overrides":{"steps":3,"model.slots":2},"until":{"metric":"loss","below":0.1}},{}]'
    config = resolve("demo", [f"stages={stages}"])
    assert [stage.until is None for stage in config.stages] == [False, True]
    assert resolve("demo", words(listing(listed_fields(config)))) == config


def test_the_command_lists_what_a_run_would_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "demo", "model=segnet", "batch.micro=4", "model.width=8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "optim.lr=0.001                      # number > 0: Learning rate." in lines
    assert (
        "batch.micro=4                       # integer or null >= 1: Clips that a worker does at once; null = its"
        in "\n".join(lines)
    )
    assert any(line.startswith("model.width=8 ") for line in lines)
    assert "# optim: Optimiser and its schedule." in lines
    assert max(len(line) for line in lines if not line.startswith("'model.class_weights")) <= WIDTH


def test_a_reader_may_stop_early() -> None:
    command = f"{sys.executable} -m trainer recipes demo | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert (done.stdout.split()[0], done.stderr) == ("recipe=demo", "")


def test_without_a_name_it_lists_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(RECIPES)


def test_another_models_fields_may_follow_its_name() -> None:
    config: RunConfig = resolve("demo", ["model=ae-conv", "model.hidden=32"])
    assert config.model_dump(mode="json")["model"]["hidden"] == 32
    with pytest.raises(ValueError, match=r"field model.slots does not exist"):
        resolve("demo", ["model=ae-conv", "model.slots=2"])


def test_bounds_stand_with_what_they_bound() -> None:
    kinds = {field.path: field.kind for field in listed_fields(resolve("demo"))}
    assert kinds["optim.betas"] == "[number >= 0 and < 1, number >= 0 and < 1]"
    assert kinds["optim.lr"].startswith("number > 0")
