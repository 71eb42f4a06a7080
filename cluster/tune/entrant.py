"""Entrant: a trial of a sweep, how it stands and with what values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cluster.tune.record import run_folder


@dataclass
class Entrant:
    """A trial."""

    number: int
    values: dict[str, Any]
    """Of the fields that are searched."""
    began: int
    """The umpire's clock at its start, in optimiser steps."""
    state: Literal["running", "finished", "stopped", "failed"] = "running"
    step: int = 0
    """Of its last result."""
    score: float | None = None
    """The last."""
    scores: dict[int, float] = field(default_factory=dict)
    """All, by step."""
    why: str = ""
    """What it has failed of."""
    take: int = 0
    """How often it has taken another's place."""
    source: str = ""
    """The folder below the sweep that this take goes on from, at `source_step`; empty = none."""
    source_step: int = 0
    gathered: bool = False
    """Whether it waits for the others."""

    @property
    def folder(self) -> str:
        """Where its run lies below the sweep."""
        return run_folder(self.number, self.take)


def words(values: Mapping[str, Any]) -> str:
    """Values as words of a command."""
    return " ".join(f"{path}={shown(value)}" for path, value in values.items())


def shown(value: Any) -> str:
    """A value with as many digits as tell it from its neighbours in a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
