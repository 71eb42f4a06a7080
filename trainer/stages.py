"""Stages of a chain, and the rules by which one is over: what was measured decides, and nothing else.

All of it is a function of configs and of the lines of metrics.jsonl, so that a chain that was killed comes to the
same decisions again. chain.py carries them out.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import Field, field_serializer, field_validator, model_validator

from data_shards.mistake import UserError
from trainer.frozen import Frozen


class Rule(Frozen):
    """It holds where one number of the lines of metrics.jsonl is below a bound, or at least another."""

    metric: str
    """loss, gradient_norm, terms.NAME or scores.NAME."""
    below: float | None = None
    """Holds for less than this; null = at_least is given."""
    at_least: float | None = None
    """Holds for this and more; null = below is given."""
    lines: int = Field(1, ge=1)
    """Lines with this number, in a row, that it must hold for."""
    after: int = Field(0, ge=0)
    """Optimiser steps that must be done; earlier lines do not count."""

    @field_validator("metric")
    @classmethod
    def _measured(cls, metric: str) -> str:
        # The rest of a line, such as step_s, depends on the machine: a chain could not be repeated.
        if not re.fullmatch(r"loss|gradient_norm|(terms|scores)\..+", metric):
            raise ValueError("needs loss, gradient_norm, terms.NAME or scores.NAME")
        return metric

    @model_validator(mode="after")
    def _one_bound(self) -> "Rule":
        if (self.below is None) == (self.at_least is None):
            raise ValueError("give one of below and at_least")
        return self

    def value(self, line: dict[str, Any]) -> float | None:
        """The number that the rule is about; None = the line is about others, or there was nothing to measure.

        Raises:
            UserError: it should be in the line and is not.
        """
        group, dot, name = self.metric.partition(".")
        group, name = (group, name) if dot else ("", group)
        there = line.get(group) if group else line
        if there is None or (not group and "loss" not in line):
            return None
        if name not in there:
            have = ", ".join(f"{group}.{known}" for known in there)
            raise UserError(f"metric: got {self.metric}, which is not measured; have {have or 'none'}")
        return None if there[name] is None else float(there[name])

    def holds(self, value: float) -> bool:
        """Whether it holds for this number."""
        return value < self.below if self.below is not None else value >= (self.at_least or 0.0)

    def __str__(self) -> str:
        bound = f"below {self.below:g}" if self.below is not None else f"at least {self.at_least:g}"
        return f"{self.metric} {bound}" + (f" for {self.lines} lines" if self.lines > 1 else "")


class Stage(Frozen):
    """One run of a chain: what it changes, when it is over, and what is done when it has failed."""

    overrides: dict[str, Any] = Field(default_factory=dict)
    """Fields that are others than in the rest of the chain, such as {"batch.frames": 3, "steps": 500}."""
    until: Rule | None = None
    """Ends the stage before its steps are done; null = it takes all its steps."""
    again: tuple[Rule, ...] = ()
    """Collapse, by any of these: the stage has failed. So it has, rule or not, where loss or weights are not finite."""
    attempts: int = Field(1, ge=1)
    """Most starts of the stage, each with the next seed; the chain fails with the last."""
    back: int = Field(0, ge=0)
    """Starts after the first begin from the weights of so many stages further back."""

    @field_validator("again", mode="before")
    @classmethod
    def _some_rules(cls, value: Any) -> Any:
        return () if value is None else [value] if isinstance(value, dict | Rule) else value

    @field_serializer("again")
    def _as_given(self, again: tuple[Rule, ...]) -> Any:
        # None and one rule as they were when there could be no more: a chain keeps its digest.
        rules = [rule.model_dump(mode="json") for rule in again]
        return rules if len(rules) > 1 else rules[0] if rules else None


class Outcome(StrEnum):
    """What a run of a stage has come to."""

    ONGOING = "ongoing"
    DONE = "done"
    COLLAPSED = "collapsed"


@dataclass(frozen=True)
class Verdict:
    """An outcome and the reason in words."""

    outcome: Outcome
    why: str = ""


class Streak:
    """Follows a rule through the lines of a run.

    Args:
        rule: to follow; None = one that never holds.
        unknown: whether it holds for what is not a finite number.

    Attributes:
        held: the step of the line with which it first held; None = not yet.
    """

    def __init__(self, rule: Rule | None, *, unknown: bool) -> None:
        self._rule, self._unknown, self._row = rule, unknown, 0
        self.held: int | None = None

    def read(self, line: dict[str, Any]) -> None:
        """The next line. Raises UserError as `Rule.value`."""
        if self._rule is None or self.held is not None:
            return
        value = self._rule.value(line)
        if value is None or line["step"] < self._rule.after:
            return
        holds = self._rule.holds(value) if math.isfinite(value) else self._unknown
        self._row = self._row + 1 if holds else 0
        if self._row >= self._rule.lines:
            self.held = int(line["step"])


class Watch:
    """Reads the lines of one run of a stage, as they are written or as they were.

    A stop by the user writes a line between two that are due. It does not count: nobody who was not stopped has it.

    Args:
        stage: with the rules.
        log_steps: optimiser steps between two lines.
        steps: the last step.
        lines: that are there already.
    """

    def __init__(
        self, stage: Stage, log_steps: int, steps: int, lines: Iterable[dict[str, Any]] = ()
    ) -> None:
        self._stage, self._log_steps, self._steps = stage, log_steps, steps
        self._until = Streak(stage.until, unknown=False)
        self._again = [Streak(rule, unknown=True) for rule in stage.again]
        self._scored: set[int] = set()
        self._mistake = ""
        for line in lines:
            self.read(line)

    def read(self, line: dict[str, Any]) -> None:
        """The next line."""
        step = line["step"]
        if "scores" in line:
            self._scored.add(step)
        elif step % self._log_steps and step != self._steps:
            return
        for name, streak in (("until", self._until), *(("again", streak) for streak in self._again)):
            try:
                streak.read(line)
            except UserError as error:
                self._mistake = self._mistake or f"{name}.{error}"

    def over(self) -> bool:
        """Whether the run need not go on: it stops at the end of the step after the line that says so."""
        held = self._until.held is not None or any(streak.held is not None for streak in self._again)
        return held or bool(self._mistake)

    def verdict(self, newest: int, scores_due: bool) -> Verdict:
        """What the run has come to.

        Its end is where an undisturbed run stops: at the end of the step after the line with which `until` first held,
        or of its last. Before it has a checkpoint of that step, or of a later one if the rules were others then, it
        goes on from what it has.

        Args:
            newest: the step of its newest checkpoint; 0 = none.
            scores_due: whether that step is one to be scored.

        Raises:
            UserError: a rule is about something that is not measured.
        """
        if self._mistake:
            raise UserError(self._mistake)
        until = self._until.held
        for rule, streak in zip(self._stage.again, self._again, strict=True):
            if streak.held is not None and (until is None or streak.held <= until):
                return Verdict(Outcome.COLLAPSED, f"{rule} at step {streak.held}")
        if until is not None:
            done = newest >= min(until + 1, self._steps) and not self._owes(newest, scores_due)
            words = f"{self._stage.until} at step {until}"
            return Verdict(Outcome.DONE, words) if done else Verdict(Outcome.ONGOING)
        if newest < self._steps or self._owes(newest, scores_due):
            return Verdict(Outcome.ONGOING)
        return Verdict(Outcome.DONE, f"{self._steps} steps")

    def _owes(self, newest: int, scores_due: bool) -> bool:
        """Whether the last step has a checkpoint, and its scores, which may say otherwise, are still to be made."""
        return newest >= self._steps and scores_due and newest not in self._scored
