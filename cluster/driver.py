"""Driver: watches a run on the connected Ray, for whoever started it."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Thread
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer

# Nothing public tells a run that was not placed from one that failed.
from ray.train.v2._internal.exceptions import (
    InsufficientClusterResourcesError,
    WorkerGroupStartupTimeoutError,
)

from cluster.board import Failure, Heard, Message, Place
from cluster.config import ClusterConfig
from cluster.guard import Guard
from cluster.losses import Loss, called, unheard
from cluster.machines import cluster_resources, dead_nodes, has_placed
from cluster.ray_settings import PLACED_S
from cluster.stop import Stop
from data_shards.exits import Refused
from data_shards.mistake import UserError
from monitoring.run_state import RunState

_ABORT_S = 10.0
_LOOK_S = 0.3  # how often the board is read
_HEAR_S = 1.0  # how often it is asked for heartbeats
_ANSWER_S = (
    5.0  # for the board while the run goes on: on a busy machine it comes late, and nothing is lost by that
)
_LAST_S = 60.0  # for its last words


class Driver:
    """Passes on what a run says and the wish that it stops; bounds the wait for workers; ends a group that hangs.

    A context manager.

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
        self._waiting_since = self._heard_at = time.monotonic()
        self._asked: dict[str, Any] = {}  # of the board, which has not answered yet
        self._restarts = 0
        self._outcome: RunState | BaseException | None = None
        self._controller: Any = None
        self._workers: dict[int, str] = {}  # of the group that runs, as far as they have started
        self._places: dict[int, Place] = {}  # of the group that was placed last
        self._heard: dict[int, Heard] = {}  # of the group that runs
        self._guard = Guard(config, board)
        self._loss: Loss | None = None  # that is still to be told

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
            self._hear()
            self._tell_loss(time.monotonic())
            if self._stop.asked.is_set() and not self._passed_on:
                self._board.stop.remote()
                self._passed_on = True
            self._bound_the_wait()
        for _ in range(2):  # what was asked for before, and what has come since
            self._read_board(_LAST_S)
        self._tell_loss(math.inf)
        if isinstance(self._outcome, RunState):
            return self._outcome
        if _found_no_place(self._outcome):
            raise self._no_room(PLACED_S, "fewer trials at a time (--max-concurrent)")
        raise Refused(_reason(self._outcome, self._places)) from None

    def _fit(self, trainer: TorchTrainer) -> None:
        try:
            fitted: Any = trainer.fit()
            self._outcome = fitted.return_value
        except BaseException as error:
            self._outcome = error

    def _ask(self, what: str, limit_s: float = _ANSWER_S) -> Any:
        """What the board answers; None = nothing yet. Until it has answered it is not asked for the same again."""
        asked = self._asked.pop(what) if what in self._asked else getattr(self._board, what).remote()
        try:
            return ray.get(asked, timeout=limit_s)
        except ray.exceptions.GetTimeoutError:
            self._asked[what] = asked
            return None

    def _read_board(self, limit_s: float = _ANSWER_S) -> None:
        for message in self._ask("take", limit_s) or ():
            self._read(message)

    def _read(self, message: Message) -> None:
        content = message.content
        match message.kind:
            case "metrics":
                self._report(content)
            case "notice":
                self._say(content)
            case "controller":
                self._controller = content
            case "placing":
                self._places = {}
            case "placed":
                self._tell_loss(math.inf)
                self._places = content
            case "started":
                self._stop.running.set()
                self._workers |= content
            case "lost":
                self._lose(content)
            case "resized":
                self._wait_again()
            case "refused" if not self._is_left_behind(message.worker):
                raise self._refusal(content, message.worker)

    def _is_left_behind(self, worker: str) -> bool:
        """Whether it is of a group before this one: what it refuses, such as that it was followed, ends nothing."""
        return bool(worker and self._workers) and worker not in self._workers.values()

    def _refusal(self, content: tuple[int, str], worker: str) -> Exception:
        """What a worker refuses to do; where there are others it is said which one."""
        code, sentence = content
        rank = next((rank for rank, known in self._workers.items() if known == worker), None)
        if rank is not None and len(self._places) > 1:
            sentence = f"{sentence} ({called(rank, self._places.get(rank))})"
        return UserError(sentence) if code == 2 else Refused(sentence)

    def _hear(self) -> None:
        """Look at the heartbeats, once a second, and end a group that hangs: Ray then starts it again."""
        now = time.monotonic()
        if now - self._heard_at < _HEAR_S or not self._stop.running.is_set():
            return
        self._heard_at = now
        found: dict[int, Heard] | None = self._ask("beats")
        if found is None:
            return
        self._heard = {
            rank: heard for rank, heard in found.items() if self._workers.get(rank) == heard.worker
        }
        for sentence in self._guard.look(self._heard, self._places):
            self._say(sentence)

    def _lose(self, failures: Mapping[int, Failure]) -> None:
        """Workers are gone, and Ray starts the group again if it may."""
        self._tell_loss(math.inf)
        self._loss = Loss(failures, self._places, self._guard.taken(), unheard(self._heard))
        self._restarts += 1
        self._wait_again()

    def _wait_again(self) -> None:
        self._stop.running.clear()
        self._workers, self._heard = {}, {}
        self._waiting_since = time.monotonic()

    def _tell_loss(self, now: float) -> None:
        """Say why workers were lost, once that is known; at the latest when there are others."""
        if self._loss is None:
            return
        causes = self._loss.causes(dead_nodes, now - self._loss.since)
        if causes is None:
            return
        self._loss = None
        reasons = "; ".join(f"{who}: {said}" for who, said in causes.items())
        allowed = self._config.scaling.max_failures
        then = "starting again from the newest checkpoint" if self._restarts <= allowed else "giving up"
        self._say(f"worker lost ({reasons}); {then} ({self._restarts} of {allowed})")

    def _bound_the_wait(self) -> None:
        """Ray itself would try for ever."""
        limit = self._config.ray.start_timeout_s
        if self._stop.running.is_set() or time.monotonic() - self._waiting_since < limit:
            return
        wanted = self._config.scaling.least
        if self._places:
            where = ", ".join(sorted({place.host for place in self._places.values()}))
            raise Refused(
                f"{len(self._places)} workers were placed (on {where}), and none has started to train within "
                f"{limit:g} s; their machines are slow or busy: raise ray.start_timeout_s"
            )
        if has_placed(wanted):
            raise Refused(
                f"there is room for {wanted} workers, and not all of their processes were there within {limit:g} s; "
                "their machines are slow or busy: raise ray.start_timeout_s"
            )
        raise self._no_room(limit, "raise ray.start_timeout_s")

    def _no_room(self, limit: float, otherwise: str) -> UserError:
        there = ", ".join(f"{name} {count:g}" for name, count in cluster_resources().items())
        return UserError(
            f"field scaling.num_workers: no room for {self._config.scaling.least} workers within {limit:g} s; the "
            f"cluster has {there}; ask for fewer workers or resources, or {otherwise}"
        )


def _found_no_place(error: object) -> bool:
    """Whether a run failed because its workers were not placed, which ends only runs that do not wait."""
    failure = getattr(error, "controller_failure", None)
    return isinstance(failure, WorkerGroupStartupTimeoutError | InsufficientClusterResourcesError)


def _reason(error: BaseException | None, places: Mapping[int, Place]) -> str:
    """What to tell the user of a failed run: the worker's own traceback, not Ray's around it."""
    if isinstance(error, ray.train.WorkerGroupError):
        rank, failure = sorted(error.worker_failures.items())[0]
        return f"{called(rank, places.get(rank))} failed:\n{str(failure).strip()}"
    return str(error).strip() or type(error).__name__
