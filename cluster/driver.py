"""Driver: watches a run on the connected Ray, for whoever started it."""

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer

from cluster.board import Message
from cluster.config import ClusterConfig
from cluster.machines import cluster_resources
from cluster.stop import Stop
from data_shards.exits import Refused
from data_shards.mistake import UserError
from monitoring.run_state import RunState

_ABORT_S = 10.0
_LOOK_S = 0.3  # how often the board is read
_ANSWER_S = 60.0


class Driver:
    """Passes on what a run says and the wish that it stops; bounds the wait for workers. A context manager.

    Args:
        board: of the run.
        config: the run and its machines.
        report: called with the lines of metrics that arrive: all with scores, at most one a second of the others.
        say: called with each sentence for the user.
        stop: asked while nothing runs yet, it is heeded at the first step.
    """

    def __init__(
        self,
        board: Any,
        config: ClusterConfig,
        report: Callable[[dict[str, Any]], None],
        say: Callable[[str], None],
        stop: Stop,
    ) -> None:
        self._board, self._config = board, config
        self._report, self._say, self._stop = report, say, stop
        self._passed_on = False
        self._waiting_since = time.monotonic()
        self._restarts = 0
        self._outcome: RunState | BaseException | None = None
        self._controller: Any = None
        self._workers: dict[int, str] = {}  # of the group that runs, as far as they have started

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_: object) -> None:
        # A controller that still waits for machines never answers; its claim on them lapses after three minutes.
        if self._outcome is None and self._controller is not None and self._stop.running.is_set():
            # It ends by ending its own process, which is an error here.
            with suppress(ray.exceptions.RayError):
                ray.get(self._controller.abort.remote(), timeout=_ABORT_S)

    def watch(self, trainer: TorchTrainer) -> RunState:
        """Run `trainer` to its end, in a thread, so that this one can answer signals.

        Raises:
            UserError: a mistake of the user that a worker found, or no room for the workers.
            Refused: the run failed.
        """
        thread = Thread(target=self._fit, args=(trainer,), name="ray-train", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK_S)
            self._read_board()
            if self._stop.asked.is_set() and not self._passed_on:
                self._board.stop.remote()
                self._passed_on = True
            self._bound_the_wait()
        self._read_board()
        if isinstance(self._outcome, RunState):
            return self._outcome
        raise Refused(_reason(self._outcome)) from None

    def _fit(self, trainer: TorchTrainer) -> None:
        try:
            fitted: Any = trainer.fit()
            self._outcome = fitted.return_value
        except BaseException as error:
            self._outcome = error

    def _read_board(self) -> None:
        for message in ray.get(self._board.take.remote(), timeout=_ANSWER_S):
            self._read(message)

    def _read(self, message: Message) -> None:
        content = message.content
        if message.kind == "metrics":
            self._report(content)
        elif message.kind == "notice":
            self._say(content)
        elif message.kind == "controller":
            self._controller = content
        elif message.kind == "started":
            self._stop.running.set()
            self._workers |= content
        elif message.kind == "lost":
            self._lose(content)
        elif not self._is_left_behind(message.worker):
            code, sentence = content
            raise UserError(sentence) if code == 2 else Refused(sentence)

    def _is_left_behind(self, worker: str) -> bool:
        """Whether it is of a group before this one: what it refuses, such as that it was followed, ends nothing."""
        return bool(worker and self._workers) and worker not in self._workers.values()

    def _lose(self, causes: dict[int, str]) -> None:
        """Workers are gone, and Ray starts the group again if it may."""
        self._restarts += 1
        self._stop.running.clear()
        self._workers.clear()
        self._waiting_since = time.monotonic()
        reasons = "; ".join(f"rank {rank}: {said}" for rank, said in sorted(causes.items()))
        allowed = self._config.scaling.max_failures
        then = "starting again from the newest checkpoint" if self._restarts <= allowed else "giving up"
        self._say(f"worker lost ({reasons}); {then} ({self._restarts} of {allowed})")

    def _bound_the_wait(self) -> None:
        """Ray itself would try for ever."""
        limit = self._config.ray.start_timeout_s
        if self._stop.running.is_set() or time.monotonic() - self._waiting_since < limit:
            return
        there = ", ".join(f"{name} {count:g}" for name, count in cluster_resources().items())
        raise UserError(
            f"field scaling.num_workers: no room for {self._config.scaling.least} workers within {limit:g} s; the "
            f"cluster has {there}; ask for fewer workers or resources, or raise ray.start_timeout_s"
        )


def _reason(error: BaseException | None) -> str:
    """What to tell the user of a failed run: the worker's own traceback, not Ray's around it."""
    if isinstance(error, ray.train.WorkerGroupError):
        rank, failure = sorted(error.worker_failures.items())[0]
        return f"rank {rank} failed:\n{str(failure).strip()}"
    return str(error).strip() or type(error).__name__
