"""From a recipe's name and `field.path=value` words to a validated config, with errors that a person can act on."""

import argparse
import difflib
import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar, overload

from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from data_shards.storage.place import local_path
from model import MODELS
from trainer.config import RunConfig, model_to
from trainer.recipes import RECIPES

C = TypeVar("C", bound=RunConfig)

WHOLE = ("model", "batch.frames")  # groups of fields that one value may stand for

OF_THE_CHAIN = ("recipe", "output", "start", "stages")  # fields that a stage cannot have for itself


@overload
def resolve(recipe: str | None, overrides: Sequence[str] = (), *, file: str | None = None) -> RunConfig: ...


@overload
def resolve(
    recipe: str | None, overrides: Sequence[str] = (), cls: type[C] = ..., file: str | None = None
) -> C: ...


def resolve(
    recipe: str | None,
    overrides: Sequence[str] = (),
    cls: type[RunConfig] = RunConfig,
    file: str | None = None,
) -> RunConfig:
    """The config of a recipe (or of a saved config file) with the overrides applied.

    Args:
        recipe: a name of RECIPES; None where `file` is given.
        overrides: words such as `optim.lr=3e-4`; values are JSON, anything else is taken as text.
        cls: RunConfig or a subclass with more fields.
        file: a saved config.json to start from instead of a recipe.

    Raises:
        ValueError: one sentence: the field, the value, what is allowed and the nearest existing name.
    """
    if file is not None:
        tree = _read(file)
    elif recipe in RECIPES:
        tree = RECIPES[recipe]().model_dump(mode="json") | {"recipe": recipe}
    else:
        raise ValueError(
            f"recipe {recipe!r} does not exist{nearest(str(recipe), RECIPES)}; have: {', '.join(RECIPES)}"
        )
    # Fields that only the subclass has (scaling of a cluster run) start from their defaults.
    extra = {
        n: f.get_default(call_default_factory=True) for n, f in cls.model_fields.items() if n not in tree
    }
    tree |= {n: v.model_dump(mode="json") if hasattr(v, "model_dump") else v for n, v in extra.items()}
    given = {name: value for name, value in tree.items() if name in cls.model_fields}
    if unknown := set(tree) - set(given):
        name = sorted(unknown)[0]
        raise ValueError(f"field {name} does not exist{nearest(name, cls.model_fields)}")
    for word in overrides:
        _assign(given, word)
    config = validated(given, cls)
    stage_runs(config)  # what is wrong with a stage is told now, not when its turn comes
    return config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of every command that starts a run: RECIPE [field.path=value ...] or --config FILE."""
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="a name that `recipes` lists")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="field.path=value",
        help="what differs, such as optim.lr=3e-4; `recipes RECIPE` lists every field",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="a saved config instead of a recipe; none by default"
    )


def from_arguments(given: argparse.Namespace, cls: type[C], more: Sequence[str] = ()) -> C:
    """The config that the words of `add_arguments` and the overrides `more` name; ValueError as `resolve`."""
    recipe, overrides = given.recipe, given.overrides
    if given.config and recipe:  # with --config every word is an override
        recipe, overrides = None, [recipe, *overrides]
    if not given.config and not recipe:
        raise ValueError("name a recipe (python -m trainer recipes lists them) or give --config FILE")
    return resolve(recipe, [*overrides, *more], cls, file=given.config)


def stage_runs(config: C) -> tuple[C, ...]:
    """The run of each stage of a chain: the chain's own fields with the stage's overrides. Its output is the chain's.

    Raises:
        ValueError: one sentence, as `resolve`, that begins with the stage.
    """
    runs = []
    for number, stage in enumerate(config.stages):
        tree = config.model_dump(mode="json") | {"stages": []}
        try:
            for path, value in stage.overrides.items():
                if path in OF_THE_CHAIN:
                    raise ValueError(f"overrides: {path} is the chain's, set it there")
                _set(tree, path, value, value if isinstance(value, str) else json.dumps(value))
            runs.append(validated(tree, type(config)))
        except ValueError as error:
            raise ValueError(f"stages.{number}: {error}") from None
    return tuple(runs)


def validated(tree: dict[str, Any], cls: type[C]) -> C:
    """`tree` as a config; ValueError in one sentence where it does not fit."""
    try:
        config = cls.model_validate(tree)
    except ValidationError as error:
        raise ValueError("; ".join(_sentence(e) for e in error.errors())) from None
    _refuse_unknown(tree, config.model_dump(mode="json"), "")
    return config


def nearest(name: str, names: Any) -> str:
    """' (did you mean X?)' for the closest of `names`, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def _read(file: str) -> dict[str, Any]:
    path = local_path(file)
    try:
        tree = json.loads(path.read_text())
    except OSError as error:
        raise ValueError(f"config file {path}: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"config file {path} is not JSON: {error}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"config file {path} holds no object of fields")
    described = tree.get("config", tree)  # a run's config.json also holds digest and revision
    if not isinstance(described, dict):
        raise ValueError(f"config file {path}: its config is {described!r}, needs an object of fields")
    return described


def _assign(tree: dict[str, Any], word: str) -> None:
    path, equals, text = word.partition("=")
    if not equals:
        raise ValueError(f"override {word!r} has no '='; write field.path=value")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    _set(tree, path, value, text)


def _set(tree: dict[str, Any], path: str, value: Any, text: str) -> None:
    """Give the field at `path` a value; `text` is how the user wrote it."""
    node, parts = tree, path.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, dict) or part not in node:
            whole = _leaves(tree)
            hint = nearest(path, whole) or (nearest(part, node) if isinstance(node, dict) else "")
            raise ValueError(f"field {path} does not exist{hint}")
        if depth < len(parts) - 1:
            node = node[part]
    if isinstance(node[parts[-1]], dict) and not isinstance(value, dict) and path not in WHOLE:
        raise ValueError(
            f"field {path} is a group; set one of: {', '.join(f'{path}.{n}' for n in node[parts[-1]])}"
        )
    old = node[parts[-1]]
    if path == "model.name" and value != old:
        raise ValueError(f"field model.name: write model={text}; another model starts from its own defaults")
    if isinstance(old, str) and isinstance(value, bool | int | float):
        value = text  # a folder may be called 2024
    if path == "model" and isinstance(value, str) and value in MODELS:
        value = model_to(MODELS[value]())  # another model starts from its own defaults
    node[parts[-1]] = value


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for name, value in tree.items():
        names += _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]
    return names


def _refuse_unknown(given: Any, known: Any, path: str) -> None:
    """Dataclasses inside the tree would drop unknown fields silently; this does not."""
    if not isinstance(given, dict) or not isinstance(known, dict):
        return
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"field {path}{name} does not exist{nearest(name, known)}")
        _refuse_unknown(value, known[name], f"{path}{name}.")


def _sentence(error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing" or error["input"] is PydanticUndefined:
        return f"field {path} is missing; give {path}=VALUE"
    reason = error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], dict):  # a group's own words name the field and the value
        return f"{path}.{reason}" if re.match(r"\w+: ", reason) else f"field {path}: {reason}"
    return f"field {path}: got {error['input']!r}, {reason[0].lower()}{reason[1:]}"
