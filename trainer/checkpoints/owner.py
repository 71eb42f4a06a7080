"""Which start of a run may write it: the latest. An earlier one, wherever it runs, ends with a sentence.

A start writes its name, `attempt`, into the run's config.json, and whoever finds another's there has been followed.
Nobody is asked whether a process still lives: a run that was killed goes on at once, and a group of workers that Ray
starts again is not held up by what is left of the one before.
"""

import json
import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Waited

from data_shards.mistake import UserError
from data_shards.storage.place import open_store
from data_shards.storage.store import NotFound, Store
from trainer.checkpoints.checkpoint import CONFIG
from trainer.config import RunConfig

_ANSWER_S = 10.0  # for which a store that is out is asked; the next look asks again
_WAIT_S = 0.2  # that a step waits for the store, at most


class TakenOver(UserError):
    """Another start of the run has come since."""


def claim(store: Store, config: RunConfig, revision: str, attempt: str) -> None:
    """Write a run's config.json: what this start of it was given. Those before may not write any more."""
    described = {
        "attempt": attempt,
        "revision": revision,
        "host": socket.gethostname(),
        "process": os.getpid(),
        "digest": config.digest(),
        "config": config.model_dump(mode="json"),
    }
    store.put(CONFIG, json.dumps(described, indent=2).encode())


def successor(store: Store, attempt: str) -> str:
    """Words about the start that has followed `attempt`; "" = there is none."""
    try:
        described = json.loads(store.read(CONFIG))
        if described.get("attempt", attempt) == attempt:
            return ""
        who = f"process {described.get('process')} on {described.get('host')}"
    except (NotFound, ValueError, AttributeError):
        return ""
    return (
        f"{store.url}: another process has started this run since ({who}), and it alone goes on; "
        f"to train both, give one another output"
    )


class Lookout:
    """Looks whether a start has been followed, in a thread: no step waits long for a store that does not answer."""

    def __init__(self, output: str, attempt: str) -> None:
        self._store, self._attempt = open_store(output, _ANSWER_S), attempt
        self._thread = ThreadPoolExecutor(1, "lookout")
        self._look: Future[str] | None = None

    def words(self) -> str:
        """As `successor`, of now, or where the store takes its time of a look before."""
        if self._look is None:
            self._look = self._thread.submit(successor, self._store, self._attempt)
        try:
            words = self._look.result(_WAIT_S)
        except Waited:
            return ""
        except Exception:  # a store that is out tells nothing
            words = ""
        self._look = None
        return words

    def close(self) -> None:
        """Look no more."""
        self._store.close()
        self._thread.shutdown(wait=False)
