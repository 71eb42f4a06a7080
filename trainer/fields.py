"""Every field of a config as the word that sets it, with its type, what is allowed and what it means."""

import json
import shlex
import textwrap
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import zip_longest
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from data_shards.field_docs import field_docs
from model import MODELS
from model.schedule import Stairs
from trainer.config import model_to

COLUMN, WIDTH = 36, 120  # where comments begin, and where lines end
KINDS = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class ListedField:
    """A field of a config, or a group of them."""

    path: str
    """As in optim.lr."""
    word: str
    """path=value, as an override takes it back; empty for a group."""
    kind: str
    """Its type and bounds in words; empty for a group."""
    meaning: str
    """What its class says of it."""


def listed_fields(config: BaseModel) -> list[ListedField]:
    """All fields of a config; single ones before groups, and each group before what is in it."""
    return list(_listed(config, ""))


def _listed(part: Any, prefix: str) -> Iterator[ListedField]:
    cls: Any = type(part)
    docs, kinds = field_docs(cls), _kinds(cls)
    values = {name: getattr(part, name) for name in kinds}
    for name in sorted(kinds, key=lambda name: _is_group(values[name])):
        path, value, meaning = f"{prefix}{name}", values[name], docs.get(name, "")
        if not _is_group(value):
            yield ListedField(path, f"{path}={_text(value)}", kinds[name], meaning)
            continue
        yield ListedField(path, "", "", meaning)
        if type(value) in MODELS.values():  # its name before its fields: another model has others
            yield ListedField(path, f"{path}={model_to(value)['name']}", " or ".join(MODELS), "Its name.")
        yield from _listed(value, f"{path}.")


def listing(listed: Sequence[ListedField]) -> str:
    """A line for each field: its word as a shell takes it, and the rest as a comment."""
    lines: list[str] = []
    for field in listed:
        if not field.word:
            lines += [""] * ("." not in field.path) + [f"# {field.path}: {field.meaning}"]
            continue
        word = shlex.quote(field.word)
        comment = textwrap.wrap(f"{field.kind}: {field.meaning}", WIDTH - COLUMN - 2, break_on_hyphens=False)
        if len(word) >= COLUMN:  # its comment stands below
            lines.append(word)
            word = ""
        lines += [f"{left:{COLUMN}}# {text}" for left, text in zip_longest([word], comment, fillvalue="")]
    return "\n".join(lines)


def _is_group(value: Any) -> bool:
    # Stairs stand where a number may stand, so they are given whole.
    return isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, Stairs))


def _text(value: Any) -> str:
    """What stands behind the equals sign: JSON, but for text that JSON does not take for something else."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except json.JSONDecodeError:
            return value
    return json.dumps(to_jsonable_python(value))


def _kinds(cls: Any) -> dict[str, str]:
    """Type and bounds of each field of a pydantic model or a dataclass."""
    if issubclass(cls, BaseModel):
        return {name: _bounded(field.annotation, field.metadata) for name, field in cls.model_fields.items()}
    hints = get_type_hints(cls)
    return {field.name: _kind(hints[field.name]) for field in fields(cls)}


def _bounded(hint: Any, limits: Sequence[Any]) -> str:
    return f"{_kind(hint)} {' and '.join(filter(None, map(_bound, limits)))}".strip()


def _kind(hint: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_kind, arguments))
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin is tuple:
        return f"[{', '.join('...' if part is Ellipsis else _kind(part) for part in arguments)}]"
    if origin is dict:
        return f"{{{': '.join(map(_kind, arguments))}}}"
    if is_dataclass(hint):
        return f"{{{', '.join(field.name for field in fields(hint))}}}"
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return f"{{{', '.join(hint.model_fields)}}}"
    if origin is Annotated:
        return _bounded(
            arguments[0], [limit for said in arguments[1:] for limit in getattr(said, "metadata", [said])]
        )
    return KINDS.get(hint, "group")


def _bound(limit: Any) -> str:
    match limit:
        case Ge(ge=number):
            return f">= {number}"
        case Gt(gt=number):
            return f"> {number}"
        case Le(le=number):
            return f"<= {number}"
        case Lt(lt=number):
            return f"< {number}"
    return ""
