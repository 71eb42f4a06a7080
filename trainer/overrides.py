"""From a recipe's name and `field.path=value` words to a validated config, with errors that a person can act on."""

import argparse
import copy
import json
import math
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from typing import Any, TypeVar, get_origin, get_type_hints, overload

from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from data_shards.mistake import UserError
from data_shards.storage.document import parse_document, shortened
from data_shards.storage.place import local_path
from model import MODELS
from trainer.config import RunConfig, model_to
from trainer.recipes import RECIPES
from trainer.remedies import as_json, at, nearest, put, remedy, sentences, shown

C = TypeVar("C", bound=RunConfig)
_FILE, _TEXT = 1 << 20, 1000  # bytes of a config file, characters of a text in it, at most

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
        UserError: one sentence: the field, the value, what is allowed and the nearest existing name.
    """
    if file is not None:
        tree = _read(file)
    elif recipe in RECIPES:
        tree = RECIPES[recipe]().model_dump(mode="json") | {"recipe": recipe}
    else:
        raise UserError(
            f"recipe {recipe!r} does not exist{nearest(str(recipe), RECIPES)}; have: {', '.join(RECIPES)}"
        )
    # Fields that only the subclass has (scaling of a cluster run), or a file lacks, start from their defaults.
    given = _completed(tree, cls)
    if unknown := set(tree) - set(cls.model_fields):
        name = sorted(unknown)[0]
        raise UserError(f"field {name} does not exist{nearest(name, cls.model_fields)}")
    before = copy.deepcopy(given)
    for word in overrides:
        path = _assign(given, word, cls)
        if at(given, path) in ("None", "NULL", "Null") and _accepted(cls, given, path):
            none = _accepted(cls, _with(given, path, None), path)
            remedy = f"a word here; for none write {path}=null" if none else "and this field cannot be none"
            raise UserError(f"field {path}: got {word.partition('=')[2]!r}, {remedy}")
    config = validated(given, cls, before)
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
    """The config that the words of `add_arguments` and the overrides `more` name; UserError as `resolve`."""
    recipe, overrides = given.recipe, given.overrides
    if given.config and recipe:  # with --config every word is an override
        recipe, overrides = None, [recipe, *overrides]
    if not given.config and not recipe:
        raise UserError("name a recipe (python -m trainer recipes lists them) or give --config FILE")
    return resolve(recipe, [*overrides, *more], cls, file=given.config)


def stage_runs(config: C) -> tuple[C, ...]:
    """The run of each stage of a chain: the chain's own fields with the stage's overrides. Its output is the chain's.

    Raises:
        UserError: one sentence, as `resolve`, that begins with the stage.
    """
    runs = []
    for number, stage in enumerate(config.stages):
        tree = config.model_dump(mode="json") | {"stages": []}
        before = copy.deepcopy(tree)
        try:
            for path, value in stage.overrides.items():
                if path in OF_THE_CHAIN:
                    raise UserError(f"overrides: {path} is the chain's, set it there")
                _set(tree, path, value, type(config))
            runs.append(validated(tree, type(config), before))
        except UserError as error:
            raise UserError(f"stages.{number}: {error}") from None
    return tuple(runs)


def validated(tree: dict[str, Any], cls: type[C], before: dict[str, Any] | None = None) -> C:
    """`tree` as a config; UserError in one sentence where it does not fit.

    `before` is the tree that the user's words were applied to, from which remedies come.
    """
    old = tree if before is None else before
    try:
        config = cls.model_validate(tree)
    except ValidationError as error:
        raise UserError(sentences(error.errors(), tree, old, partial(_accepted, cls))) from None
    known = config.model_dump()
    _refuse_unknown(tree, known, "")
    if path := _no_number(tree, known, ""):
        got = shown(at(tree, path))
        raise UserError(
            f"field {path}: got {got}, needs a number{remedy(path, tree, old, partial(_accepted, cls))}"
        )
    return config


def _accepted(cls: type[RunConfig], tree: dict[str, Any], path: str) -> bool:
    """Whether `tree` is a config but for errors outside of the field `path`."""
    try:
        return not _no_number(tree, cls.model_validate(tree).model_dump(), "")
    except ValidationError as error:
        found = [".".join(str(part) for part in each["loc"]) for each in error.errors()]
        return not any(f"{path}.".startswith(f"{each}.") or each.startswith(f"{path}.") for each in found)


def _read(file: str) -> dict[str, Any]:
    path = local_path(file)
    try:
        with path.open("rb") as opened:
            tree = parse_document(opened.read(_FILE + 1), _FILE, _TEXT)
    except OSError as error:
        raise UserError(f"config file {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"config file {path} is not JSON of fields: {error}") from None
    described = tree.get("config", tree)  # a run's config.json also holds digest and revision
    if not isinstance(described, dict):
        got = shortened(repr(described))
        raise UserError(f"config file {path}: its config is {got}, needs an object of fields")
    return described


def _completed(tree: dict[str, Any], cls: Any) -> dict[str, Any]:
    """`tree` with the defaults of the fields of `cls` that it lacks; PydanticUndefined for those that must be given."""
    made = dict(tree)
    for name, (kind, default) in _defaults(cls).items():
        there = made.get(name, {} if default is PydanticUndefined and is_dataclass(kind) else default)
        if name == "model" and isinstance(there, dict) and there.get("name") in tuple(MODELS):
            there = model_to(MODELS[there["name"]]()) | there
        elif isinstance(there, dict) and (is_dataclass(kind) or hasattr(kind, "model_fields")):
            there = _completed(there, kind)
        made[name] = there
    return made


def _defaults(cls: Any) -> dict[str, tuple[Any, Any]]:
    """Type and default, as JSON has it, of each field of a pydantic model or a dataclass."""
    if is_dataclass(cls):
        hints = get_type_hints(cls)
        found = {
            field.name: PydanticUndefined if field.default is MISSING else field.default
            for field in fields(cls)
        }
        return {name: (hints[name], default) for name, default in found.items()}
    made = {name: field.get_default(call_default_factory=True) for name, field in cls.model_fields.items()}
    return {
        name: (
            cls.model_fields[name].annotation,
            v.model_dump(mode="json") if hasattr(v, "model_dump") else v,
        )
        for name, v in made.items()
    }


def _with(tree: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made = copy.deepcopy(tree)
    put(made, path, value)
    return made


def _assign(tree: dict[str, Any], word: str, cls: type[RunConfig]) -> str:
    """Do what a word says; returns the path of its field."""
    path, equals, text = word.partition("=")
    if not equals:
        raise UserError(f"override {word!r} has no '='; write field.path=value")
    if word.encode(errors="ignore").decode() != word:
        raise UserError(f"override {word!r}: a name that is not UTF-8 cannot be saved in a config; rename it")
    _set(tree, path, as_json(text, path), cls, text)
    return path


def _set(tree: dict[str, Any], path: str, value: Any, cls: type[RunConfig], written: str = "") -> None:
    """Give the field at `path` a value, or the fields of the group there theirs; `written` is how the user wrote it."""
    text = written or (value if isinstance(value, str) else json.dumps(value))
    node: Any = tree
    *groups, last = path.split(".")
    for depth, part in enumerate([*groups, last]):
        if not isinstance(node, dict) or part not in node:
            raise UserError(_unknown(tree, path, ".".join(groups[:depth]), node))
        node = node[part] if depth < len(groups) else node
    old, kind = node[last], _kind(cls, path)
    if isinstance(old, dict) and old and not isinstance(value, dict) and path not in WHOLE:
        raise UserError(f"field {path} is a group; set one of: {', '.join(f'{path}.{n}' for n in old)}")
    if isinstance(old, dict) and isinstance(value, dict) and _merges(path, value, kind):
        for name, inner in value.items():
            _set(tree, f"{path}.{name}", inner, cls)
        return
    if path == "model.name" and value != old and value in tuple(MODELS):
        raise UserError(f"field model.name: write model={text}; another model starts from its own defaults")
    if isinstance(value, bool | int | float) and (isinstance(old, str) or kind == (str | None)):
        value = text  # a folder may be called 2024
    if path == "model" and isinstance(value, str) and value in MODELS:
        value = model_to(MODELS[value]())  # another model starts from its own defaults
    node[last] = value


def _merges(path: str, value: dict[str, Any], kind: Any) -> bool:
    """Whether the fields that `value` has not stay as they are: those of a group, whose names are the config's."""
    if path == "model":
        return "name" not in value
    return path not in WHOLE and get_origin(kind) is not dict


def _kind(cls: Any, path: str) -> Any:
    """The annotation of the field at `path`; None within a model, whose fields its name decides."""
    for part in path.split("."):
        known = _defaults(cls) if is_dataclass(cls) or hasattr(cls, "model_fields") else {}
        cls = known.get(part, (None,))[0]
    return cls


def _unknown(tree: dict[str, Any], path: str, group: str, node: Any) -> str:
    """What is said of a path that leads out of the tree at `group`, which is `node`."""
    if group and (isinstance(node, list) or node == {}):
        example = node if isinstance(node, list) else {path.rpartition(".")[2]: 1}
        return f"field {group} is given whole; write {group}={shown(example)}"
    hint = nearest(path, _leaves(tree)) or (
        nearest(path.rpartition(".")[2], node) if isinstance(node, dict) else ""
    )
    return f"field {path} does not exist{hint}"


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
            raise UserError(f"field {path}{name} does not exist{nearest(name, known)}")
        _refuse_unknown(value, known[name], f"{path}{name}.")


def _no_number(given: Any, known: Any, path: str) -> str:
    """The path of a value that was taken for a number and is none: true, or beyond all numbers. Empty without one."""
    if isinstance(known, dict) and isinstance(given, dict):
        found = (_no_number(value, known.get(name), f"{path}{name}.") for name, value in given.items())
        return next(filter(None, found), "")
    if isinstance(known, list | tuple) and isinstance(given, list | tuple):
        return next(filter(None, (_no_number(*pair, path) for pair in zip(given, known, strict=False))), "")
    taken = isinstance(given, bool) and isinstance(known, int | float) and not isinstance(known, bool)
    return path.rstrip(".") if taken or (isinstance(known, float) and not math.isfinite(known)) else ""
