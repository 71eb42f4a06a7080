"""Record: what a sweep was asked and what has happened in it, in its output, from which the same command goes on.

<output>/sweep.json             what it was asked, for the next start of it
<output>/trials.jsonl           who entered, each result and what it led to, in their order
<output>/trial-03/              a trial: a run like any other
<output>/trial-03-take-1/       the same after `pbt` has put it in another's place
<output>/report.html best.json  the page, and the best config as a recipe that `train --config` takes
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.tune.plan import Plan
from data_shards.mistake import UserError
from data_shards.storage.place import check_url, open_store
from data_shards.storage.store import NotFound
from trainer.checkpoints.checkpoint import steps_on
from trainer.remedies import at, shown
from trainer.revision import code_revision

ASKED, EVENTS, LOCK = "sweep.json", "trials.jsonl", "sweep.lock"


class Record:
    """The events of a sweep at `output`, each written before anything follows from it. It can be sent elsewhere."""

    def __init__(self, output: str) -> None:
        # Another process may be in another folder.
        self.output = output if check_url(output)[0] else str(Path(output).absolute())

    def read(self) -> list[dict[str, Any]]:
        """All events so far."""
        try:
            return [json.loads(line) for line in open_store(self.output).read(EVENTS).splitlines()]
        except NotFound:
            return []

    def write(self, events: Sequence[dict[str, Any]]) -> None:
        """All events so far, complete or not at all: there are a few for each trial."""
        text = "".join(json.dumps(event) + "\n" for event in events)
        open_store(self.output).put(EVENTS, text.encode())


def run_folder(number: int, take: int = 0) -> str:
    """Where a trial lies below its sweep."""
    return f"trial-{number:02d}" + (f"-take-{take}" if take else "")


@contextmanager
def owned(plan: Plan) -> Iterator[bool]:
    """Within the context the output is this process's sweep's; yields whether it goes on with one.

    Raises:
        UserError: another sweep, or a run, is there; or another process is at this one.
    """
    with _locked(plan.config.output):
        yield _claim(plan)


def _claim(plan: Plan) -> bool:
    store = open_store(plan.config.output)
    asked = {"revision": code_revision(), **plan.described()}
    try:
        store.put(ASKED, json.dumps(asked, indent=2).encode(), if_absent=True)
    except FileExistsError:
        before = json.loads(store.read(ASKED))
        if differences := _differences(before, asked):
            raise UserError(
                f"field output: {store.url} holds another sweep ({'; '.join(differences[:3])}); give the same words to "
                f"go on with it, or another output"
            ) from None
        return True
    if steps_on(store):
        store.delete(ASKED)
        raise UserError(f"field output: {store.url} holds a run; give the sweep an output of its own")
    return False


@contextmanager
def _locked(output: str) -> Iterator[None]:
    """The system takes the lock back when this process ends, however it ends. A bucket has none."""
    bucket, path = check_url(output)
    if bucket:
        yield
        return
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"field output: {output} is the output of a sweep that runs ({file.read().strip()}); give another "
                f"output, or end that one"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    """What two descriptions differ in, but for the revision of the code."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [name for name in {**before, **now} if path or name != "revision"]
        return [
            text
            for name in names
            for text in _differences(at(before, name), at(now, name), f"{path}.{name}" if path else name)
        ]
    return [] if before == now else [f"{path} was {_told(before)}, is {_told(now)}"]


def _told(value: Any) -> str:
    try:
        return shown(value)
    except TypeError:
        return "nothing"
