"""Umpire: takes the results of all trials in turn, and tells each what follows for it. An actor beside the driver.

Halving and search depend on the order in which results come. Here it is that of a clock that counts optimiser steps: as
if all trials that run at a time were equally fast. So neither the load of machines nor a kill changes what comes of a
sweep. A trial does not wait with training until it is its turn, only with what is decided about it.

What was taken is written down before it is told. After a kill all of it is taken once more from the record: rungs,
search and draws are then what they were.
"""

import math
from typing import Any, Literal

from cluster.tune.choosers import Chooser
from cluster.tune.entrant import Entrant, words
from cluster.tune.judges import Judge
from cluster.tune.plan import Plan
from cluster.tune.record import Record
from data_shards.exits import Refused


class Umpire:
    """The state of a sweep.

    Args:
        plan: what it is to do.
        judge: who goes on.
        chooser: with what values trials begin.
        record: where it is written down, and read from.
    """

    def __init__(self, plan: Plan, judge: Judge, chooser: Chooser, record: Record) -> None:
        self._plan, self._judge, self._chooser, self._record = plan, judge, chooser, record
        self._entrants: list[Entrant] = []
        self._events: list[dict[str, Any]] = []
        self._failures: dict[int, str] = {}  # whose turn has not come
        self._messages: list[str] = []
        self._clock = 0
        self._repeat(record.read())
        self._handed = {entrant.number for entrant in self._entrants if entrant.state != "running"}

    # What trials ask.

    def entrant(self, number: int) -> Entrant:
        """How a trial stands."""
        return self._entrants[number]

    def offer(self, number: int, take: int, step: int, score: float) -> str | None:
        """A trial has a score; asked again until it is not None: "on", "over", or "change" = in another take.

        Scores that were taken before are not taken again.
        """
        entrant = self._entrants[number]
        if take != entrant.take:
            return "change"
        if entrant.state == "running" and step > entrant.step:
            if not math.isfinite(score):
                return self.fail(number, f"{self._plan.column} is {score} at step {step}")
            if self._turn() != number:
                return None
            self._take(entrant, step, score)
            self._settle()
        return self._verdict(entrant, take)

    def fail(self, number: int, why: str) -> str | None:
        """A trial has failed; asked again until it is not None."""
        if self._entrants[number].state != "running":
            return "over"
        self._failures.setdefault(number, why)
        self._settle()
        return "over" if self._entrants[number].state != "running" else None

    def tell(self, text: str) -> None:
        """A sentence for the user."""
        self._messages.append(text)

    # What the driver asks.

    def next(self) -> int | Literal["later", "done"]:
        """The number of a trial to be started."""
        for entrant in self._entrants:
            if entrant.number not in self._handed:
                self._handed.add(entrant.number)
                return entrant.number
        running = any(entrant.state == "running" for entrant in self._entrants)
        return "later" if running else "done"

    def heard(self) -> list[str]:
        """The sentences for the user since the last call."""
        told, self._messages = self._messages, []
        return told

    def entrants(self) -> list[Entrant]:
        """All trials so far."""
        return self._entrants

    # What happens.

    def _turn(self) -> int | None:
        """The number of the trial whose result is to be taken next: the earliest by the clock."""
        waiting = [each for each in self._entrants if each.state == "running" and not each.gathered]
        return min(waiting, key=self._due).number if waiting else None

    def _due(self, entrant: Entrant) -> tuple[int, int]:
        """When its next result is there by the clock; of two at a time the lower number comes first."""
        every, steps = self._plan.config.evaluation.steps, self._plan.config.steps
        return entrant.began + min((entrant.step // every + 1) * every, steps), entrant.number

    def _settle(self) -> None:
        """Take what has become due by what was taken, and write it down."""
        while (number := self._turn()) in self._failures:
            assert number is not None
            self._drop(self._entrants[number], self._failures.pop(number))
        self._record.write(self._events)

    def _take(self, entrant: Entrant, step: int, score: float) -> None:
        self._clock = max(self._clock, entrant.began + step)
        entrant.step, entrant.score = step, score
        entrant.scores[step] = score
        last = step >= self._plan.config.steps
        on = not last and self._judge.goes_on(entrant.number, step, score)
        entrant.gathered = on and self._judge.gathers(step)
        entrant.state = "running" if on else "finished" if last else "stopped"
        said = "waits for the others" if entrant.gathered else "goes on" if on else entrant.state
        self._note({"trial": entrant.number, "step": step, "score": score, "then": said})
        self.tell(f"trial {entrant.number} at step {step}: {self._plan.column} {score:.4g}, {said}")
        if not on:
            self._chooser.learn(entrant.number, score)
        self._follow()

    def _drop(self, entrant: Entrant, why: str) -> None:
        self._clock = max(self._clock, self._due(entrant)[0])
        entrant.state, entrant.why = "failed", why
        self._note({"trial": entrant.number, "failed": why})
        self.tell(f"trial {entrant.number} has failed: {why}")
        self._chooser.learn(entrant.number, None)
        self._follow()

    def _follow(self) -> None:
        """What follows when a trial has moved."""
        running = [entrant for entrant in self._entrants if entrant.state == "running"]
        if running and all(entrant.gathered for entrant in running):
            self._change(running)
        self._fill()

    def _change(self, running: list[Entrant]) -> None:
        """All have gathered: some take another's place."""
        folders = {entrant.number: entrant.folder for entrant in running}
        scores = {entrant.number: entrant.score or 0.0 for entrant in running}
        values = {entrant.number: entrant.values for entrant in running}
        for entrant in running:
            entrant.gathered = False
        for number, change in self._judge.changes(scores, values).items():
            entrant = self._entrants[number]
            entrant.take, entrant.values = entrant.take + 1, change.values
            entrant.source, entrant.source_step = folders[change.donor], entrant.step
            self._note({"trial": number, "take": entrant.take, "from": change.donor, "values": change.values})
            self.tell(f"trial {number} goes on as trial {change.donor} with {words(change.values)}")

    def _fill(self) -> None:
        """Let trials begin where there is room."""
        while len(self._entrants) < self._plan.trials:
            if sum(entrant.state == "running" for entrant in self._entrants) >= self._plan.at_once:
                return
            number = len(self._entrants)
            entrant = Entrant(number, self._chooser.choose(number), self._clock)
            self._entrants.append(entrant)
            self._judge.enter(number)
            self._note({"trial": number, "began": entrant.began, "values": entrant.values})
            self.tell(f"trial {number} begins: {words(entrant.values)}")

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append(event)

    def _verdict(self, entrant: Entrant, take: int) -> str | None:
        if entrant.state != "running":
            return "over"
        if entrant.take != take:
            return "change"
        return None if entrant.gathered else "on"

    def _repeat(self, events: list[dict[str, Any]]) -> None:
        """Take what was taken before a kill. Raises Refused where that leads elsewhere."""
        self._fill()
        for event in events:
            if event["trial"] >= len(self._entrants):
                break
            entrant = self._entrants[event["trial"]]
            if "score" in event:
                self._take(entrant, event["step"], event["score"])
            elif "failed" in event:
                self._drop(entrant, event["failed"])
        if self._events[: len(events)] != events:
            raise Refused(
                f"{self._record.output}: what is recorded of the sweep does not come about again: Ray or Optuna is "
                f"of another version than before, or trials.jsonl was changed; give the sweep another output"
            )
        if events:
            self._messages = [f"going on after {sum('score' in event for event in events)} results"]
