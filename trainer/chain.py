"""train(): a run, or a chain of runs each of which begins from the weights of the last.

    <output>/config.json            the chain, for the next start of it
    <output>/stages.json            what was decided and why, for people: nothing reads it
    <output>/stage-00/              the first stage: a run like any other
    <output>/stage-01/              the next, from the weights of the newest checkpoint in stage-00
    <output>/stage-01-again-1/      once more, for that one has collapsed

Which run is next is a function of the stages and of the last run that has begun: of its lines in metrics.jsonl, and of
its newest checkpoint. So a start after a kill finds what the process before would have found. Runs before that one are
settled: rules that are changed later do not reach them.
"""

import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from data_shards.manifest import read_manifest
from data_shards.mistake import UserError
from data_shards.storage.place import open_store
from data_shards.storage.store import NotFound, StorageError, Store
from monitoring.heartbeat import Heart
from monitoring.run_state import RunState
from trainer import loop
from trainer.checkpoints.checkpoint import CONFIG, FOLDER, steps_on
from trainer.checkpoints.owner import claim
from trainer.checkpoints.weights import misfit, raise_everywhere, shapes
from trainer.config import RunConfig
from trainer.engine import private_extensions, start_processes
from trainer.interruption import Interruption, at_once
from trainer.journal import local_folder, run_lines
from trainer.loop import Result
from trainer.overrides import stage_runs
from trainer.process_group import ProcessGroup
from trainer.remedies import nearest
from trainer.requirements import require_clip, require_data, require_fit
from trainer.revision import code_revision
from trainer.scores import SCORES
from trainer.stages import Outcome, Rule, Verdict, Watch
from trainer.telemetry import Report

log = logging.getLogger(__name__)

RECORD = "stages.json"


class Collapse(FloatingPointError):
    """A stage has collapsed as often as it may be started."""


@dataclass(frozen=True)
class Attempt:
    """One run of a chain: which stage, and how often that was started before."""

    stage: int
    number: int = 0

    @property
    def folder(self) -> str:
        """Where it lies below the chain."""
        return f"stage-{self.stage:02d}" + (f"-again-{self.number}" if self.number else "")


@dataclass(frozen=True)
class Next:
    """What a chain does next, the same on all ranks."""

    attempt: Attempt | None  # None = all stages are done
    start: str | None = None  # URL of the weights that it begins from, if it has no checkpoint
    newest: int = 0  # the step of its newest checkpoint
    collapse: str = ""  # why there is nothing next


def train(
    config: RunConfig,
    *,
    report: Report | None = None,
    stopping: Callable[[], bool] | None = None,
    heart: Heart | None = None,
) -> Result:
    """`loop.train`, or where the config has stages, one for each of them. Interrupted, it goes on where it was.

    Raises:
        Collapse: a stage has collapsed as often as it may be started.
        Exception: what `loop.train` raises. Every stage was looked at before any was trained.
    """
    if not config.stages:
        return loop.train(config, report=report, stopping=stopping, heart=heart)
    private_extensions()
    for number, run in enumerate(stage_runs(config)):
        with _named(number):
            require_data(run, read_manifest(run.data.url))
            require_clip(run)
    with at_once():
        group = start_processes()
    with Interruption(stopping) as interruption:
        chain = Chain(config, group, heart)
        chain.require()
        return chain.to_the_end(interruption, report)


class Chain:
    """One process's part of a chain. Rank 0 reads what was written and decides; the others are told."""

    def __init__(self, config: RunConfig, group: ProcessGroup, heart: Heart | None = None) -> None:
        self.config, self.group, self.runs = config, group, stage_runs(config)
        self._heart = heart
        self._store = open_store(config.output)
        self._told = False
        self._stores: dict[Attempt, Store] = {}
        self._read: dict[Attempt, list[dict[str, Any]]] = {}  # the lines that the last decision was made from
        self._lost: dict[Attempt, str] = {}  # in this process: what was not finite

    def require(self) -> None:
        """UserError that names the stage, where one cannot be trained or does not fit the weights of the last."""
        if steps_on(self._store):
            url = self._store.url
            raise UserError(f"field output: {url} holds a run of its own; give the chain a folder of its own")
        before: dict[str, list[int]] | None = None
        for number, (stage, run) in enumerate(zip(self.config.stages, self.runs, strict=True)):
            with _named(number):
                for name, rule in (("until", stage.until), *(("again", rule) for rule in stage.again)):
                    _require_scored(name, rule, run)
                micro = run.batch.micro_of(self.group.world)
                model = run.model.build().to(self.group.device)
                require_fit(model, run, read_manifest(run.data.url), self.group.device, micro)
                now = shapes(model.state_dict())
                if before is not None and (weight := misfit(before, now)):
                    raise UserError(f"its model does not fit the weights of the stage before ({weight})")
                before = now

    def to_the_end(self, interruption: Interruption, report: Report | None) -> Result:
        """All that is left of the chain."""
        step, loss, before = 0, math.nan, None
        while (now := self._agreed()).attempt is not None:
            asked = torch.tensor([interruption.requested], dtype=torch.float64)
            if bool(self.group.total(asked)):  # between two runs, or too late for the last
                return Result(RunState.INTERRUPTED, step, loss, self.config.output)
            if now == before:
                raise RuntimeError(f"{now.attempt.folder} has ended, and its journal does not say so")
            result, before = self._run(now.attempt, now, interruption, report), now
            if result is not None:
                step, loss = result.step, result.loss
                if result.state is RunState.INTERRUPTED:
                    return replace(result, output=self.config.output)
        return Result(RunState.FINISHED, step, loss, self.config.output)

    def _run(
        self, attempt: Attempt, now: Next, interruption: Interruption, report: Report | None
    ) -> Result | None:
        """Train; None = loss or weights are not finite."""
        config = self._config(attempt, now.start)
        here = self._read.get(attempt, [])  # nothing of a run that has not begun, and on other ranks
        lines = [line for line in here if line["step"] <= now.newest]  # the others are made again
        watch = Watch(self.config.stages[attempt.stage], config.log_steps, config.steps, lines)

        def read(line: dict[str, Any]) -> None:  # on rank 0 alone
            # Not before: a chain that is refused, or has nothing to do, leaves what was there.
            if not self._told:
                claim(self._store, self.config, code_revision(), "")
                self._told = True
            watch.read(line)
            if report is not None:
                report(line)

        try:
            return loop.train(
                config,
                report=read,
                stopping=lambda: interruption.requested,
                enough=watch.over,
                heart=self._heart,
            )
        except FloatingPointError as error:  # on all ranks
            self._lost[attempt] = str(error)
            return None

    def _config(self, attempt: Attempt, start: str | None) -> RunConfig:
        run = self.runs[attempt.stage]
        targets = run.monitoring.targets or str(local_folder(self.config.output) / "targets")
        return run.model_copy(
            update={
                "output": self._url(attempt),
                "start": start,
                "seed": run.seed + attempt.number,
                "monitoring": run.monitoring.model_copy(update={"targets": targets}),
            }
        )

    def _url(self, attempt: Attempt) -> str:
        return f"{self.config.output}/{attempt.folder}"

    def _agreed(self) -> Next:
        """What is next, on all ranks. Raises Collapse where that is nothing."""
        told, refusal = "", None
        if self.group.rank == 0:
            try:
                told = json.dumps(asdict(self._next()))
            except (UserError, StorageError) as error:
                refusal = error
        raise_everywhere(refusal, self.group)
        tree = json.loads(self.group.same(told))
        now = Next(**tree | {"attempt": tree["attempt"] and Attempt(**tree["attempt"])})
        if now.collapse:
            raise Collapse(now.collapse)
        return now

    def _next(self) -> Next:
        begun = self._begun()
        if not begun:
            return self._begin(Attempt(0), begun)
        last = begun[-1]
        newest = self._newest(last)
        with _named(last.stage):
            verdict = self._verdict(last, newest)
        if verdict.outcome is Outcome.ONGOING:
            return replace(self._begin(last, begun), newest=newest)
        self._record(last, verdict)
        if verdict.outcome is Outcome.DONE:
            stage = last.stage + 1
            return self._begin(Attempt(stage), begun) if stage < len(self.runs) else Next(None)
        told = f"{self._url(last)} has collapsed ({verdict.why})"
        if last.number + 1 >= self.config.stages[last.stage].attempts:
            return Next(None, collapse=f"{told}; start it more often (attempts), or with other overrides")
        again = Attempt(last.stage, last.number + 1)
        log.warning("%s: going on in %s", told, again.folder)
        return self._begin(again, begun)

    def _begun(self) -> list[Attempt]:
        """The runs that have begun, in the order in which they have."""
        possible = (
            Attempt(stage, number)
            for stage, rules in enumerate(self.config.stages)
            for number in range(rules.attempts)
        )
        return [attempt for attempt in possible if self._store.exists(f"{attempt.folder}/{CONFIG}")]

    def _begin(self, attempt: Attempt, begun: list[Attempt]) -> Next:
        """A run from the weights that its stage says."""
        back = self.config.stages[attempt.stage].back if attempt.number else 0
        sources = [other for other in begun if other.stage == attempt.stage - 1 - back]
        if not sources:
            return Next(attempt, self.config.start)
        url, step = self._url(sources[-1]), self._newest(sources[-1])
        return Next(attempt, f"{url}/{FOLDER}/step-{step:08d}" if step else url)

    def _verdict(self, attempt: Attempt, newest: int) -> Verdict:
        if attempt in self._lost:
            return Verdict(Outcome.COLLAPSED, self._lost[attempt])
        run, stage = self.runs[attempt.stage], self.config.stages[attempt.stage]
        self._read = {attempt: run_lines(self._url(attempt), self._open(attempt))}
        watch = Watch(stage, run.log_steps, run.steps, self._read[attempt])
        return watch.verdict(newest, run.evaluation.due(newest, run.steps))

    def _open(self, attempt: Attempt) -> Store:
        if attempt not in self._stores:
            self._stores[attempt] = open_store(self._url(attempt))
        return self._stores[attempt]

    def _newest(self, attempt: Attempt) -> int:
        """The step of its newest complete checkpoint; 0 = there is none."""
        return max(steps_on(self._open(attempt)), default=0)

    def _record(self, attempt: Attempt, verdict: Verdict) -> None:
        try:
            known = json.loads(self._store.read(RECORD))
        except (NotFound, ValueError):
            known = {}
        known[attempt.folder] = {"outcome": verdict.outcome, "why": verdict.why}
        self._store.put(RECORD, json.dumps(known, indent=2).encode())


def _require_scored(name: str, rule: Rule | None, run: RunConfig) -> None:
    """UserError where a rule is about scores that the stage does not measure."""
    if rule is None or not rule.metric.startswith("scores."):
        return
    score = rule.metric.removeprefix("scores.")
    if score not in SCORES:
        raise UserError(f"{name}.metric: there is no score {score}{nearest(score, SCORES)}")
    if not run.evaluation.steps:
        raise UserError(f"{name}.metric: got {rule.metric}, but evaluation.steps is 0: nothing is scored")


@contextmanager
def _named(stage: int) -> Iterator[None]:
    """A mistake within is told as one of this stage."""
    try:
        yield
    except UserError as error:
        raise UserError(f"stages.{stage}: {error}") from error
