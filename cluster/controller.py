"""What runs in Ray's controller: it tells the board where the workers are and what became of them, and ends them.

Ray promises that callbacks of its own kinds may be given. Its public one is told of exceptions alone.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray.train.constants import TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback

from cluster.board import Failure, Message, Place

_PART_S = 2  # for ranks that live to leave the process group of one that does not; Ray's own is 30
_SETTLE_S = 3.0  # for them to end what needs no other, such as a checkpoint all of whose parts are there
_LOOK_S = 0.1
_LONGEST = 160  # characters of what a worker raised

# What Ray says of a process that is gone, in 800 characters, and what it means. Where it does not know, it counts up
# what may have been: the kernel's killer for want of memory, `ray stop`, a crash.
_GONE = (
    (r"node has died|node_death|NODE_DIED", "its machine has left the cluster"),
    (r"running low on memory", "ended by Ray: its machine was out of memory"),
    (r"SIGTERM", "its process was ended by SIGTERM"),
    (r"killed by `?ray\.kill", "its process was ended by this driver"),
)
_KILLED = "its process was killed"
# What a rank says of another that does not answer.
_PEER = re.compile(
    r"gloo|NCCL|DistBackendError|DistNetworkError|TCPStore|onnection (closed|reset|refused)|Broken pipe"
)


class Introduction(ControllerCallback):
    """Gives the driver a handle to end the controller with.

    A controller that is killed leaves its claim on the cluster's cores behind, and for three minutes elastic runs
    count them as taken.
    """

    def __init__(self, board: Any) -> None:
        self._board = board

    def after_controller_start(self, train_run_context: Any) -> None:
        """Called by Ray."""
        # This process alone reads it.
        os.environ.setdefault(TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S, str(_PART_S))
        actor = ray.get_runtime_context().current_actor
        self._board.tell.remote(Message("controller", actor))


class Group(WorkerGroupCallback):
    """Follows a group of workers from its placement to its end."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._actors: list[Any] = []
        self._failed = self._finished = False

    def before_worker_group_start(self, worker_group_context: Any) -> None:
        """Called by Ray before it asks for room."""
        self._actors, self._failed, self._finished = [], False, False
        self._board.tell.remote(Message("placing", worker_group_context.num_workers))

    def before_init_train_context(self, workers: list[Any]) -> dict[str, list[Any]]:
        """Called by Ray once all processes are there."""
        self._actors = [worker.actor for worker in workers]
        places = {
            worker.distributed_context.world_rank: Place(
                worker.metadata.hostname, worker.metadata.node_id, worker.metadata.pid, worker.actor
            )
            for worker in workers
        }
        self._board.tell.remote(Message("placed", places))
        return {}

    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:
        """Called by Ray whenever it has asked the workers how they are."""
        self._finished = bool(worker_group_status.finished)
        if worker_group_status.errors and not self._failed:
            self._failed = True
            lost = {rank: failure_of(error) for rank, error in worker_group_status.errors.items()}
            self._board.tell.remote(Message("lost", lost))

    @contextmanager
    def on_worker_group_shutdown(self) -> Iterator[None]:
        """Called by Ray around the end of a group."""
        if self._failed:
            self._end()
        elif not self._finished:
            self._board.tell.remote(Message("resized", None))
        yield

    def _end(self) -> None:
        """Those that live may wait for those that do not, in a collective, for as long as Ray lets them."""
        until = time.monotonic() + _SETTLE_S
        while time.monotonic() < until and any(map(_runs, self._actors)):
            time.sleep(_LOOK_S)
        for actor in self._actors:
            with suppress(ray.exceptions.RayError):
                ray.kill(actor)


def _runs(actor: Any) -> bool:
    """Whether a worker still does what it was given."""
    try:
        return bool(ray.get(actor.poll_status.remote(), timeout=_SETTLE_S).running)
    except ray.exceptions.RayError:  # gone, or it does not answer
        return False


def failure_of(error: BaseException) -> Failure:
    """What a worker died of: in our words where its process is gone, else the last line of its own traceback."""
    error = getattr(error, "health_check_failure", error)  # how Ray wraps what its health check ran into
    if isinstance(error, ray.exceptions.RayActorError):
        if error.preempted:
            return Failure("preempted: its machine is being taken away", gone=True)
        said = str(error)
        known = (words for pattern, words in _GONE if re.search(pattern, said))
        return Failure(next(known, _KILLED), gone=True)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    words = lines[-1] if lines else type(error).__name__
    return Failure(words[:_LONGEST], gone=False, peer=bool(_PEER.search(words)))
