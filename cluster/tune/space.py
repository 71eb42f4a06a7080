"""The space of a sweep: for each field its values, from words such as optim.lr=loguniform(1e-5,1e-2).

The words are parsed here, never evaluated.
"""

import math
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data_shards.mistake import UserError
from trainer.remedies import as_json, nearest

_WORD = re.compile(r"\s*([a-z]+)\s*\((.*)\)\s*", re.DOTALL)


class Domain(ABC):
    """The values that one field may have."""

    @abstractmethod
    def draw(self, source: random.Random) -> Any:
        """One of them."""

    @abstractmethod
    def probes(self) -> tuple[Any, ...]:
        """Values that a config must take for it to take all: the ends, and one between that is no round number."""

    @abstractmethod
    def clipped(self, value: Any) -> Any:
        """The nearest value that belongs to it."""


@dataclass(frozen=True)
class Uniform(Domain):
    """Numbers from `low` to `high`, all as likely; with a `step`, its multiples from `low` on."""

    low: float
    high: float
    step: float | None = None

    def draw(self, source: random.Random) -> float:
        """One of them."""
        return self.clipped(source.uniform(self.low, self.high))

    def probes(self) -> tuple[float, ...]:
        """The ends and the golden section between."""
        return (self.low, self.clipped(self.low + 0.618 * (self.high - self.low)), self.high)

    def clipped(self, value: float) -> float:
        """Within the ends, on a step."""
        if self.step is not None:
            value = self.low + round((value - self.low) / self.step) * self.step
        value = min(max(value, self.low), self.high)
        whole = all(isinstance(each, int) for each in (self.low, self.high, self.step))
        return round(value) if whole else value


@dataclass(frozen=True)
class LogUniform(Domain):
    """Numbers from `low` to `high`, each order of magnitude as likely."""

    low: float
    high: float

    def draw(self, source: random.Random) -> float:
        """One of them."""
        return self.clipped(math.exp(source.uniform(math.log(self.low), math.log(self.high))))

    def probes(self) -> tuple[float, ...]:
        """The ends and a number between."""
        return (self.low, self.clipped(self.low ** (1 - 0.618) * self.high**0.618), self.high)

    def clipped(self, value: float) -> float:
        """Within the ends."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class RandInt(Domain):
    """Whole numbers from `low` up to, but not including, `high`."""

    low: int
    high: int

    def draw(self, source: random.Random) -> int:
        """One of them."""
        return source.randrange(self.low, self.high)

    def probes(self) -> tuple[int, ...]:
        """The ends."""
        return (self.low, self.high - 1)

    def clipped(self, value: float) -> int:
        """Within the ends."""
        return min(max(round(value), self.low), self.high - 1)


@dataclass(frozen=True)
class Choice(Domain):
    """The values that are named."""

    values: tuple[Any, ...]

    def draw(self, source: random.Random) -> Any:
        """One of them."""
        return self.values[source.randrange(len(self.values))]

    def probes(self) -> tuple[Any, ...]:
        """All."""
        return self.values

    def clipped(self, value: Any) -> Any:
        """Itself."""
        return value


KINDS = {
    "loguniform": "loguniform(1e-5, 1e-2)",
    "uniform": "uniform(0, 0.5)",
    "quniform": "quniform(16, 64, 8)",
    "randint": "randint(1, 9)",
    "choice": "choice(adam, rmsprop)",
}
"""The expressions, each as an example."""


def parse_space(words: Sequence[str]) -> dict[str, Domain]:
    """The domain of each field that words of the form FIELD=EXPR name, in their order.

    Raises:
        UserError: a word is none, or two are about one field, or one about a group that another is in.
    """
    space: dict[str, Domain] = {}
    for word in words:
        path, equals, text = word.partition("=")
        if not equals or not path:
            raise UserError(f"--space {word!r}: write FIELD=EXPR, such as optim.lr={KINDS['loguniform']}")
        for other in space:
            if path == other or path.startswith(f"{other}.") or other.startswith(f"{path}."):
                raise UserError(f"--space {path}: {other} is searched too; give each field once")
        space[path] = parse_domain(path, text)
    return space


def parse_domain(path: str, text: str) -> Domain:
    """What an expression says of the field `path`; UserError where it says nothing."""
    found = _WORD.fullmatch(text)
    if found is None or found[1] not in KINDS:
        hint = nearest(found[1], KINDS) if found else ""
        raise UserError(f"--space {path}: got {text!r}{hint}; write one of {', '.join(KINDS.values())}")
    name, parts = found[1], _split(found[2])
    if name == "choice":
        return _choice(path, parts)
    wanted = 3 if name == "quniform" else 2
    if len(parts) != wanted:
        raise UserError(f"--space {path}: got {text!r}, {name} takes {wanted} numbers: {KINDS[name]}")
    numbers = [_number(path, part) for part in parts]
    low, high = numbers[:2]
    if not low < high:
        raise UserError(f"--space {path}: got {text!r}, the first number must be below the second")
    if name == "randint":
        if not (isinstance(low, int) and isinstance(high, int)):
            raise UserError(f"--space {path}: got {text!r}, randint takes whole numbers: {KINDS['randint']}")
        return RandInt(low, high)
    if name == "loguniform":
        if low <= 0:
            raise UserError(
                f"--space {path}: got {text!r}, loguniform takes numbers above 0; write uniform(...)"
            )
        return LogUniform(low, high)
    step = numbers[2] if name == "quniform" else None
    if step is not None and not 0 < step <= high - low:
        raise UserError(f"--space {path}: got {text!r}, the step must be above 0 and at most {high - low:g}")
    return Uniform(low, high, step)


def _choice(path: str, parts: Sequence[str]) -> Choice:
    values = tuple(as_json(part, path) for part in parts)
    if not values or len({repr(value) for value in values}) < len(values):
        raise UserError(f"--space {path}: choice needs values, each once: {KINDS['choice']}")
    return Choice(values)


def _split(text: str) -> list[str]:
    """Parts between commas that stand in no brackets and no quotes."""
    parts, depth, quoted, escaped = [""], 0, False, False
    for character in text:
        if character == "," and not depth and not quoted:
            parts.append("")
            continue
        parts[-1] += character
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        else:
            depth += (character in "[{(") - (character in "]})")
    return [part.strip() for part in parts] if text.strip() else []


def _number(path: str, text: str) -> int | float:
    value = as_json(text, path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"--space {path}: got {text!r}, needs a number")
    return value
