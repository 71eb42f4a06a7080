"""Config resolution: values arrive typed, mistakes come back as one sentence with the nearest name."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.config import ClusterConfig
from data_shards.mistake import UserError
from model import MODELS
from model.schedule import Stairs
from trainer.config import RunConfig
from trainer.overrides import _assign, add_arguments, from_arguments, resolve, stage_runs, validated
from trainer.recipes import RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_survives_json(recipe: str) -> None:
    config = resolve(recipe)
    tree = json.loads(json.dumps(config.model_dump(mode="json")))
    assert validated(tree, RunConfig) == config
    assert validated(tree, RunConfig).digest() == config.digest()


@given(st.floats(1e-8, 1.0), st.integers(0, 3), st.integers(1, 10**6))
def test_overrides_are_typed(lr: float, stage: int, steps: int) -> None:
    config = resolve(
        "demo", [f"optim.lr={lr!r}", f"engine.zero_stage={stage}", f"steps={steps}", "data.url=s3://b/set"]
    )
    assert (config.optim.lr, config.engine.zero_stage, config.steps) == (lr, stage, steps)
    assert config.data.url == "s3://b/set"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("optim.lrr=1", "field optim.lrr does not exist (did you mean optim.lr?)"),
        ("optm.lr=1", "did you mean optim.lr?"),
        ("optim.lr=-1", "field optim.lr: got -1"),
        ("engine.zero_stage=4", "field engine.zero_stage: got 4"),
        ("engine.precision=fp8", "'fp32' or 'bf16'"),
        ("steps", "has no '='"),
        ("optim=3", "field optim is a group; set one of: optim.name"),
        ("model=no-such-model", "object-discovery"),
        ("model.slots=0", "model.slots: got 0, needs at least 1"),
        ("model.remat=every:0", "model.remat: every got 0"),
        ("data.streams=0", "field data: streams 0 must be at least 1"),
        ("model.name=copy-last", "write model=copy-last"),
        ("data.wrkers=1", "did you mean data.workers?"),
    ],
)
def test_a_mistake_is_one_sentence(word: str, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        resolve("demo", [word])
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert "{" not in message, "not the whole group"


@pytest.mark.parametrize(
    ("word", "frames"),
    [
        ("null", None),
        ("3", 3),
        ('{"values":[3,5,10],"steps":[1000,2000]}', Stairs((3, 5, 10), (1000, 2000))),
        ('{"values":[3]}', Stairs((3,))),
    ],
)
def test_numbers_of_frames_survive_json(word: str, frames: int | Stairs | None) -> None:
    config = resolve("demo", ["batch.frames=7", f"batch.frames={word}"])
    assert config.batch.frames == frames
    tree = json.loads(json.dumps(config.model_dump(mode="json")))
    assert validated(tree, RunConfig) == config
    _assign(tree, "batch.frames=4", RunConfig)
    assert validated(tree, RunConfig).batch.frames == 4, "stairs give way to a number"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("0", "field batch.frames: got 0, needs whole numbers from 1 up, such as 3 or"),
        ("2.5", "field batch.frames: got 2.5, needs whole numbers"),
        ("true", "field batch.frames: got true, needs whole numbers"),
        ('{"values":[3,5]}', "batch.frames: got .*, stairs of 2 values and 0 steps"),
        ('{"values":[3,5.5],"steps":[4]}', "batch.frames: got .*, needs whole numbers from 1 up"),
        ('{"values":[3,5],"steps":[4],"at":1}', "field batch.frames.at does not exist"),
    ],
)
def test_what_is_no_number_of_frames_is_refused(word: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        resolve("demo", [f"batch.frames={word}"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        (
            '[{},{"overrides":{"optim.lrr":1}}]',
            "stages.1: field optim.lrr does not exist (did you mean optim.lr?)",
        ),
        ('[{"overrides":{"optim.lr":-1}}]', "stages.0: field optim.lr: got -1"),
        ('[{"overrides":{"output":"x"}}]', "stages.0: overrides: output is the chain's, set it there"),
        ('[{"until":{"metric":"los","below":1}}]', "field stages.0.until.metric: got 'los', needs loss"),
        ('[{"again":{"metric":"loss"}}]', "field stages.0.again: give one of below and at_least"),
        ('[{"again":[{"metric":"loss"}]}]', "field stages.0.again.0: give one of below and at_least"),
        ('[{"again":3}]', "field stages.0.again: got 3, input should be a valid list"),
        ('[{"untl":null}]', "field stages.0.untl"),
        ('[{"overrides":{"batch":{"frame":3}}}]', "stages.0: field batch.frame does not exist (did you mean"),
        ("abc", "field stages: got 'abc', needs a list of stages like ["),
        ("null", "field stages: got null, needs a list of stages like ["),
        ("{}", "field stages: got {}, needs a list of stages like ["),
        ("[3]", "field stages: got [3], needs a list of stages like ["),
    ],
)
def test_a_mistake_in_a_stage_is_one_sentence(stages: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        resolve("demo", [f"stages={stages}"])
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_stages_have_the_fields_of_the_chain_and_their_own() -> None:
    words = [
        "optim.lr=0.5",
        'stages=[{"overrides":{"steps":3,"model.slots":4}},{"overrides":{"output":"x"}}]',
    ]
    with pytest.raises(ValueError, match="output"):
        resolve("demo", words)
    config = resolve("demo", [*words, 'stages=[{"overrides":{"steps":3,"data.url":2024}},{}]'])
    first, second = stage_runs(config)
    assert (first.steps, first.data.url, first.optim.lr, first.stages) == (3, "2024", 0.5, ())
    assert second == config.model_copy(update={"stages": ()})
    assert config.digest() != second.digest() == resolve("demo", ["optim.lr=0.5"]).digest()


def test_text_that_looks_like_a_number_stays_text_where_text_belongs() -> None:
    config = resolve("demo", ["output=2024", "data.url=7"])
    assert (config.output, config.data.url) == ("2024", "7")


def test_another_model_starts_from_its_own_defaults() -> None:
    assert resolve("demo", ["model=copy-last"]).model_dump(mode="json")["model"]["name"] == "copy-last"


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean demo"):
        resolve("deno")


def test_a_saved_config_starts_a_run_and_refuses_unknown_fields(tmp_path: Path) -> None:
    tree = resolve("demo").model_dump(mode="json")
    saved = tmp_path / "config.json"
    saved.write_text(json.dumps(tree))
    assert resolve(None, ["seed=5"], file=str(saved)).seed == 5
    saved.write_text(json.dumps(tree | {"model": tree["model"] | {"slotz": 3}}))
    with pytest.raises(ValueError, match="did you mean slots"):
        resolve(None, file=str(saved))
    saved.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        resolve(None, file=str(saved))
    saved.write_text('{"config": 3}')
    with pytest.raises(ValueError, match="its config is 3, needs an object"):
        resolve(None, file=str(saved))
    saved.write_text("{}")
    with pytest.raises(ValueError, match=r"field data.url is missing; give data.url=VALUE"):
        resolve(None, file=str(saved))


@pytest.mark.parametrize("words", [["--config", "FILE", "seed=5"], ["seed=5", "--config", "FILE"]])
def test_options_may_stand_anywhere(words: list[str], tmp_path: Path) -> None:
    saved = tmp_path / "config.json"
    saved.write_text(json.dumps(resolve("demo").model_dump(mode="json")))
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = parser.parse_intermixed_args([str(saved) if word == "FILE" else word for word in words])
    assert from_arguments(given, RunConfig).seed == 5


def test_digest_changes_with_any_field() -> None:
    base = resolve("demo")
    assert base.digest() != resolve("demo", ["seed=1"]).digest()
    assert base.digest() != resolve("demo", ["model.slots=3"]).digest()


def test_a_slash_at_the_end_of_a_url_makes_no_other_set() -> None:
    given = [resolve("demo", [f"data.url={url}"]).data.url for url in ("a/set", "a/set/", "s3://b/set/", "/")]
    assert given == ["a/set", "a/set", "s3://b/set", "/"]


@pytest.mark.parametrize(
    "word", ["optim.lr=Infinity", "optim.clip_norm=Infinity", "checkpoint.deadline_s=NaN"]
)
def test_numbers_are_finite(word: str) -> None:
    with pytest.raises(ValueError, match=rf"field {word.partition('=')[0]}: .*finite number"):
        resolve("demo", ["data.url=set", word])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("batch", {"frames": 3}),
        ("optim", {"lr": 0.5, "betas": [0.1, 0.2]}),
        ("model", {"slots": 4}),
        ("model.temperature", {"end": 0.1}),
        ("monitoring", {"targets": 2024}),
    ],
)
def test_the_fields_of_a_group_that_are_not_given_stay(path: str, value: dict[str, Any]) -> None:
    words = ["batch.size=6", "optim.weight_decay=0.3", "model.hidden=7", "model.temperature.start=2.5"]
    each = [f"{path}.{name}={json.dumps(inner)}" for name, inner in value.items()]
    wanted = resolve("demo", [*words, *each])
    assert resolve("demo", [*words, f"{path}={json.dumps(value)}"]) == wanted
    (stage,) = stage_runs(resolve("demo", [*words, f"stages={json.dumps([{'overrides': {path: value}}])}"]))
    assert stage == wanted


def test_what_is_given_whole_is_replaced() -> None:
    named: Any = resolve("demo", ["model.hidden=7", 'model={"name":"object-discovery","slots":4}'])
    own: Any = MODELS["object-discovery"]()
    assert (named.model.slots, named.model.hidden) == (4, own.hidden)
    words = ['scaling.resources={"a":1,"b":1}', 'scaling.resources={"a":2}']
    assert resolve("demo", words, ClusterConfig).scaling.resources == {"a": 2}


def test_a_place_may_be_called_by_a_number() -> None:
    config = resolve("demo", ["start=3", "output=2024", "monitoring.targets=7"])
    assert (config.start, config.output, config.monitoring.targets) == ("3", "2024", "7")


@pytest.mark.parametrize("word", ["None", "NULL", "Null"])
def test_no_field_takes_the_word_of_another_language_for_nothing(word: str) -> None:
    for path, remedy in (("output", "and this field cannot be none"), ("start", "for none write start=null")):
        with pytest.raises(UserError, match=f"^field {path}: got '{word}', .*{remedy}$"):
            resolve("demo", [f"{path}={word}"])
    assert resolve("demo", [f"output=./{word}"]).output == f"./{word}"


def test_a_name_that_comes_twice_is_refused() -> None:
    for path, value in (
        ("optim", '{"lr":1e-3,"lr":1e-4}'),
        ("stages", '[{"overrides":{"steps":1,"steps":2}}]'),
    ):
        with pytest.raises(UserError, match=rf"^field {path}: \"?(lr|steps)\"? is given twice in one group"):
            resolve("demo", [f"{path}={value}"])
