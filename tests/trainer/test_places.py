"""Every field and option that holds a place goes through the grammar of places."""

from argparse import PARSER, Action, ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.config import ClusterConfig
from cluster.console import commands
from data_shards.commands import given_path, given_place
from trainer.overrides import resolve

PLACES = ("data.url", "output", "start", "monitoring.targets")
NAMED = {
    "URL",
    "FILE",
    "FOLDER",
    "FOLDER_OR_FILE",
    "RUN_OR_CHECKPOINT",
    "CHECKPOINT",
    "VIDEO",
}  # metavars of places


def at(config: object, path: str) -> object:
    for name in path.split("."):
        config = getattr(config, name)
    return config


@pytest.mark.parametrize("field", PLACES)
@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("~/x/", "/home/me/x"),
        ("file:///a%20b", "/a b"),
        ("a/b//", "a/b"),
        ("S3://b/p/", "s3://b/p"),
        ("./~x", "./~x"),
    ],
)
def test_a_field_has_the_one_spelling(
    field: str, word: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    if (field, word[:2]) == ("monitoring.targets", "S3"):
        word = meant = "http://host:1/targets"
    config = resolve("demo", ["data.url=set", f"{field}={word}"], ClusterConfig)
    assert at(config, field) == meant
    assert at(ClusterConfig.model_validate(config.model_dump(mode="json")), field) == meant


@pytest.mark.parametrize("field", PLACES)
@pytest.mark.parametrize(
    "word", ["s3:/b/p", "s3:b/p", "https:/h/x", "s3:///x", "gs://b/x", "~nobody-here/x", ""]
)
def test_a_field_refuses_what_is_no_place(field: str, word: str) -> None:
    with pytest.raises(ValueError, match=rf"{field.partition('.')[0]}.*: ") as refused:
        resolve("demo", ["data.url=set", f"{field}={word}"], ClusterConfig)
    assert "\n" not in str(refused.value)


def actions(parser: ArgumentParser) -> Iterator[Action]:
    for action in parser._actions:
        yield action
        if action.nargs == PARSER and isinstance(action.choices, dict):
            for inner in action.choices.values():
                yield from actions(inner)


@pytest.mark.parametrize("name", commands())
def test_an_option_that_names_a_place_has_its_type(name: str) -> None:
    for action in actions(commands()[name].parser()):
        if action.metavar in NAMED and action.dest not in ("config", "endpoint"):
            assert action.type in (given_path, given_place), f"{name} {action.option_strings or action.dest}"


def test_a_saved_config_is_a_place_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "saved.json").write_text(resolve("demo", ["data.url=set", "seed=7"]).model_dump_json())
    assert resolve(None, file="~/saved.json").seed == 7
    with pytest.raises(ValueError, match="must be a path on this machine"):
        resolve(None, file="s3://b/saved.json")
