"""What is said of a config that does not fit: the field, the value, what it needs, and a word that would be accepted.

A remedy is tried before it is given.
"""

import copy
import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic_core import PydanticUndefined

from data_shards.mistake import UserError

Tree = dict[str, Any]
Accepts = Callable[[Tree, str], bool]  # whether a tree fits, as far as the field of that path is concerned

_NOTHING = {"none", "null", "nil", "undefined", ""}  # what other languages write for null


def sentences(errors: Sequence[Any], tree: Tree, before: Tree, accepts: Accepts) -> str:
    """One sentence for each field that pydantic's `errors` are about.

    Args:
        errors: of a validation of `tree`.
        tree: the config with its overrides.
        before: the same without them; its keys are what can be set.
        accepts: tries a remedy.
    """
    by_path: dict[str, list[Any]] = {}
    for error in errors:
        by_path.setdefault(_path(error, tree, before), []).append(error)
    return "; ".join(_sentence(path, some, tree, before, accepts) for path, some in by_path.items())


def remedy(path: str, tree: Tree, before: Tree, accepts: Accepts) -> str:
    """Advice to write the first of what may have been meant that is accepted, or nothing."""
    value = at(tree, path)
    old = at(before, path)
    if old is PydanticUndefined:  # no word can set it
        return ""
    likely = [("write", meant) for meant in _meant(value)]
    likely += [] if isinstance(old, dict) else [("such as", old)]
    for lead, meant in likely:
        tried = copy.deepcopy(tree)
        put(tried, path, meant)
        if meant != value and accepts(tried, path):
            return f"; {lead} {path}={meant if isinstance(meant, str) else shown(meant)}"
    return ""


def as_json(text: str, path: str = "") -> Any:
    """The value that a word stands for, or the word itself where it is no JSON, or none that Python reads.

    UserError where an object in it, given to the field `path`, has a name twice.
    """
    try:
        return json.loads(text, object_pairs_hook=partial(_object, path))
    except UserError:
        raise
    except (ValueError, RecursionError):
        return text


def _object(path: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a name that comes twice, json takes the last, and the other is lost in silence."""
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"field {path}: {shown(twice[0])} is given twice in one group; give it once")
    return dict(pairs)


def nearest(name: str, names: Any) -> str:
    """' (did you mean X?)' for the closest of `names`, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def shown(value: Any) -> str:
    """A value as the word that gives it."""
    return json.dumps(value, separators=(",", ":"))


def at(tree: Tree, path: str) -> Any:
    """What stands at `path`; PydanticUndefined where nothing does."""
    node: Any = tree
    for part in path.split("."):
        node = _child(node, part)
    return node


def put(tree: Tree, path: str, value: Any) -> None:
    """Let `value` stand at `path`, whose groups are there."""
    *groups, last = path.split(".")
    node = tree
    for part in groups:
        node = node[part]
    node[last] = value


def _path(error: Any, tree: Tree, before: Tree) -> str:
    """The field that an error is about: pydantic goes on into numbers of lists, keys of tables, members of unions."""
    parts: list[str] = []
    node: Any = before
    given: Any = tree
    for part in error["loc"]:
        given = _child(given, part)
        if isinstance(node, Mapping) and part in node:
            node = node[part]
        elif isinstance(part, int) and isinstance(given, Mapping):
            node = given  # an object of a list has fields of its own
        elif not (isinstance(node, Mapping) and error["type"] in ("missing", "extra_forbidden")):
            break
        parts.append(str(part))
    return ".".join(parts)


def _child(node: Any, part: int | str) -> Any:
    if isinstance(node, list | tuple) and str(part).isdecimal() and int(part) < len(node):
        return node[int(part)]
    return node.get(part, PydanticUndefined) if isinstance(node, Mapping) else PydanticUndefined


def _sentence(path: str, errors: Sequence[Any], tree: Tree, before: Tree, accepts: Accepts) -> str:
    first, value, old = errors[0], at(tree, path), at(before, path)
    above, _, name = path.rpartition(".")
    group = at(before, above) if above else before
    if value is PydanticUndefined:
        if old is not PydanticUndefined:
            return f"field {path} is missing; such as {path}={shown(old)}"
        return f"field {path} is missing" + (f"; give {path}=VALUE" if isinstance(group, Mapping) else "")
    if first["type"] == "extra_forbidden" and old is PydanticUndefined:
        return f"field {path} does not exist{nearest(name, group if isinstance(group, Mapping) else ())}"
    reasons = dict.fromkeys(_reason(error) for error in errors)
    reason = " or ".join(reasons).replace(" or input should be ", " or ")
    is_group = isinstance(value, dict) and not isinstance(old, str | list | int | float | None)
    if is_group:  # its own words name the field and the value
        return f"{path}.{reason}" if re.match(r"\w+: ", reason) else f"field {path}: {reason}"
    got = repr(value) if isinstance(value, str) else shown(value)
    return f"field {path}: got {got}, {reason}{remedy(path, tree, before, accepts)}"


def _reason(error: Any) -> str:
    inside = ".".join(part for part in map(str, error["loc"]) if part.isidentifier() or part.isdecimal())
    if error["type"] in ("missing", "extra_forbidden"):  # of a list or a table
        return f"{inside} {'is missing' if error['type'] == 'missing' else 'does not exist'}"
    reason = error["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list")
    return f"{reason[0].lower()}{reason[1:]}" if reason.startswith("Input") else reason


def _meant(value: Any) -> Iterator[Any]:
    """What may have been meant by `value`, the likeliest first."""
    if isinstance(value, str):
        if value.strip().lower() in _NOTHING:
            yield None
        meant = f"[{value.strip('()[] ')}]" if "," in value else value.lower()
        yield from (known for known in (as_json(meant),) if known != meant)
