"""JSON documents as they come from a store: believed in nothing.

Strict JSON in UTF-8, small, flat enough to walk, no name twice, every number finite. What passes is then held against
types and bounds (pydantic); what does not is a ValueError in part of a sentence, to which the reader adds the address.
"""

import json
import math
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from data_shards.mistake import printable

DEPTH = 64  # groups inside each other
GROUPS, COMMAS = 1 << 17, 1 << 18  # in one document: an object of two bytes takes 64 in memory, an entry 300
NUMBER = 1 << 63  # whole numbers stay below
_SHOWN = 80  # characters of what was found, in a sentence


def parse_document(data: bytes | memoryview, most: int, letters: int = 1 << 16) -> dict[str, Any]:
    """The JSON object that `data` spells, of at most `most` bytes and texts of at most `letters`.

    Raises:
        ValueError: it is none, or none that may be believed; says why in a few words.
    """
    if len(data) > most:
        raise ValueError(f"has {len(data)} bytes, at most {most} are read")
    text = str(data, "utf-8")
    if text.count("{") + text.count("[") > GROUPS or text.count(",") > COMMAS:
        raise ValueError(f"has more than {GROUPS} groups or {COMMAS} entries")
    try:
        tree = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_finite, parse_int=_whole
        )
        _require_plain(tree, 0, letters)
    except RecursionError:
        raise ValueError(f"is nested deeper than {DEPTH} groups") from None
    if not isinstance(tree, dict):
        raise ValueError("is no JSON object")
    return tree


def fitting(kind: Any, tree: Any) -> Any:
    """`tree` as of the type `kind`; ValueError tells the first field that does not fit, and what it needs."""
    try:
        return _adapter(kind).validate_python(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(map(str, first["loc"]))
        got = (
            ""
            if first["type"] in ("missing", "unexpected_keyword_argument")
            else f", got {first['input']!r:.40}"
        )
        raise ValueError(shortened(f"{path}: {first['msg']}{got}")) from None


@cache  # it takes ten times as long to make as to use
def _adapter(kind: Any) -> Any:
    return TypeAdapter(kind)


def shortened(text: object) -> str:
    """What a stranger wrote, for a sentence: of one line, printable, and not long."""
    plain = printable(str(text)[: 2 * _SHOWN])
    return plain if len(plain) <= 2 * _SHOWN else f"{plain[: 2 * _SHOWN]}…"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("has a name twice in one object")
    return made


def _no_number(word: str) -> Any:
    raise ValueError(f"has {word}, which is no number of JSON")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"has the number {shortened(text)}, which is beyond all that are stored")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or not -NUMBER <= (value := int(text)) < NUMBER:
        raise ValueError(f"has the number {text[:24]}…, which is beyond 64 bits")
    return value


def _require_plain(value: Any, depth: int, letters: int) -> None:
    """ValueError where it is nested too deeply, or has text that is too long or no Unicode: half a surrogate pair."""
    if isinstance(value, str):
        if len(value) > letters:
            raise ValueError(f"has a text of {len(value)} characters, at most {letters} are read")
        if not value.isascii():
            value.encode()  # UnicodeEncodeError is a ValueError
    elif isinstance(value, dict | list):
        if depth >= DEPTH:
            raise ValueError(f"is nested deeper than {DEPTH} groups")
        for part in value:
            _require_plain(part, depth + 1, letters)
        for part in value.values() if isinstance(value, dict) else ():
            _require_plain(part, depth + 1, letters)
