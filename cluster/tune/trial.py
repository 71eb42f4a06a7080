"""run_trial(): one trial, as a driver of its own that Ray Tune starts: a Ray Train run, watched and asked about."""

import os
import queue
import time
from dataclasses import dataclass
from threading import Thread
from typing import Any

import ray

from cluster import ray_settings, training
from cluster.stop import Stop
from cluster.submission import SUBMITTED
from cluster.tune.entrant import Entrant
from cluster.tune.plan import Plan
from data_shards.exits import Refused
from data_shards.mistake import UserError
from data_shards.storage.place import open_store
from data_shards.storage.store import Store
from trainer.checkpoints.checkpoint import MANIFEST, read_checkpoint, steps_on
from trainer.journal import run_lines

_POLL_S = 0.3
_ANSWER_S = 60.0


@dataclass(frozen=True)
class Errand:
    """What all trials of a sweep are given. `folder` is where relative paths begin, None = where Ray put the driver."""

    plan: Plan
    umpire: Any
    embedded: bool
    folder: str | None
    targets: str | None


def run_trial(given: dict[str, Any], errand: Errand) -> None:
    """Train until the umpire says that it is over. What it fails of is told the umpire, and is no error of Tune's."""
    number = int(given["number"])
    try:
        if errand.folder is not None:
            os.chdir(errand.folder)
        ray_settings.apply_to_trial(errand.plan.config.ray)
        os.environ.pop(SUBMITTED, None)  # of the sweep: a trial's clock begins with its driver
        while Take(errand, ray.get(errand.umpire.entrant.remote(number))).train() == "change":
            pass
    except Exception as error:
        why = (str(error).strip() or type(error).__name__).splitlines()
        _ask(errand.umpire.fail, number, why[0] if isinstance(error, UserError) else why[-1])


class Take:
    """One run of a trial."""

    def __init__(self, errand: Errand, entrant: Entrant) -> None:
        self._errand, self._entrant = errand, entrant
        output = f"{errand.plan.config.output}/{entrant.folder}"
        self._config = errand.plan.trial(entrant.values, output)
        self._stop = Stop()
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._verdict, self._failure = "on", ""

    def train(self) -> str:
        """Train to the end that the umpire sees; returns its last word: "over" or "change".

        Raises:
            UserError: a mistake of the user.
            Refused: the run failed, or does not measure what trials are compared by.
        """
        if self._entrant.source:
            self._clone()
        thread = Thread(target=self._offer_all, name="offers", daemon=True)
        thread.start()
        lines = run_lines(self._config.output)
        for line in lines:
            self._lines.put(line)
        try:
            if not any("scores" in line and line["step"] >= self._config.steps for line in lines):
                training.train(
                    self._config,
                    embedded=self._errand.embedded,
                    waits=False,
                    targets=self._errand.targets,
                    report=self._lines.put,
                    say=self._say,
                    stop=self._stop,
                )
        finally:  # what was measured before a failure counts
            self._lines.put(None)
            thread.join()
        if self._failure:
            raise Refused(self._failure)
        if self._verdict == "on":
            raise Refused(f"it has ended before the step {self._config.steps}")
        return self._verdict

    def _say(self, text: str) -> None:
        self._errand.umpire.tell.remote(f"trial {self._entrant.number}: {text}")

    def _offer_all(self) -> None:
        """In a thread: whoever trains does not wait for its turn."""
        try:
            while self._verdict == "on" and (line := self._lines.get()) is not None:
                if "scores" in line and line["step"] > self._entrant.source_step:
                    self._verdict = self._offer(line)
        except Exception as error:
            self._failure = str(error)
        if self._verdict != "on" or self._failure:
            self._stop.asked.set()

    def _offer(self, line: dict[str, Any]) -> str:
        metric, scores = self._errand.plan.metric, line["scores"]
        if scores.get(metric) is None:
            raise UserError(
                f"--metric {self._errand.plan.column}: it is not measured; have {', '.join(scores) or 'none'}"
            )
        entrant = self._entrant
        return _ask(
            self._errand.umpire.offer,
            entrant.number,
            entrant.take,
            line["step"],
            float(scores[metric]),
        )

    def _clone(self) -> None:
        """The checkpoint to go on from, of another trial, as one of this run's own: its manifest last."""
        store, step = open_store(self._config.output), self._entrant.source_step
        if step in steps_on(store):
            return
        source = open_store(f"{self._errand.plan.config.output}/{self._entrant.source}")
        checkpoint = read_checkpoint(source, step)
        names = [*source.list(f"{checkpoint.folder}/")]
        for name in sorted(names, key=lambda name: name.endswith(MANIFEST)):
            _copy(source, store, name)


def _copy(source: Store, target: Store, name: str) -> None:
    target.put(name, source.read(name))


def _ask(method: Any, *words: Any) -> str:
    """Ask the umpire until it answers."""
    while (answer := ray.get(method.remote(*words), timeout=_ANSWER_S)) is None:
        time.sleep(_POLL_S)
    return str(answer)
