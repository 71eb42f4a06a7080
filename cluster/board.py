"""Board: where workers and Ray's controller leave messages for the driver, and read whether to stop.

Not `ray.train.report`: that is a collective of all ranks, limited to one call per health check, and it blocks in
the middle of a step while a rank is dying. A message to the board is sent and forgotten.
"""

import logging
import time
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any, Literal

import ray
from ray.train import UserCallback

# The only way to the controller's handle; Ray promises that callbacks of its own kinds may be given.
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_POLL_S = 1.0  # how often rank 0 asks whether to stop
_ANSWER_S = 10.0


@dataclass(frozen=True)
class Message:
    """What a worker or the controller tells the driver."""

    kind: Literal["controller", "started", "metrics", "notice", "refused", "lost"]
    content: (
        Any  # an actor, {rank: worker}, a line, text for the user, (exit code, sentence), {rank: its cause}
    )
    worker: str = ""  # who refuses


class Board:
    """The actor. Messages are kept until the driver takes them."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._stop = False

    def tell(self, message: Message) -> None:
        """Leave a message."""
        self._messages.append(message)

    def take(self) -> list[Message]:
        """All messages since the last call."""
        taken, self._messages = self._messages, []
        return taken

    def stop(self) -> None:
        """Ask the run to save and end."""
        self._stop = True

    def stopping(self) -> bool:
        """Whether the run was asked to save and end."""
        return self._stop


def open_board() -> Any:
    """A board on the driver's machine, which lives as long as the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()


class Stopping:
    """Callable for the loop: whether the driver wants the run to end. Asks in a thread, so a step never waits."""

    def __init__(self, board: Any) -> None:
        self._board = board
        self._asked, self._closed = Event(), Event()
        self._thread = Thread(target=self._watch, name="stopping", daemon=True)
        self._thread.start()

    def __call__(self) -> bool:
        """Whether to save and end."""
        return self._asked.is_set()

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()
        self._thread.join(timeout=_ANSWER_S)

    def _watch(self) -> None:
        while not self._closed.wait(_POLL_S) and not self._asked.is_set():
            try:
                if ray.get(self._board.stopping.remote(), timeout=_ANSWER_S):
                    self._asked.set()
            except ray.exceptions.RayError:
                continue  # the driver is going away, and Ray ends this process with it


class Throttle:
    """Passes on a line of metrics at most every `seconds`; lines with scores, and the last one, always."""

    def __init__(self, board: Any, seconds: float = 1.0) -> None:
        self._board, self._seconds = board, seconds
        self._next = 0.0
        self._held: dict[str, Any] | None = None

    def __call__(self, line: dict[str, Any]) -> None:
        """Send a line, or hold it until a later one takes its place."""
        now = time.monotonic()
        self._held = line
        if now >= self._next or "scores" in line:
            self._next = now + self._seconds
            self.flush()

    def flush(self) -> None:
        """Send the line that is held, if any."""
        if self._held is not None:
            self._board.tell.remote(Message("metrics", self._held))
            self._held = None


class Notices(logging.Handler):
    """Brings a worker's warnings to the user, whose terminal shows nothing else of the workers."""

    def __init__(self, board: Any, rank: int) -> None:
        super().__init__(logging.WARNING)
        self._board, self._rank = board, rank

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        self._board.tell.remote(Message("notice", f"rank {self._rank}: {record.getMessage()}"))


class Losses(UserCallback):
    """Runs in Ray's controller: tells the board which workers failed, before Ray starts them again."""

    def __init__(self, board: Any) -> None:
        self._board = board

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called by Ray."""
        lost = {rank: cause(error) for rank, error in worker_exceptions.items()}
        self._board.tell.remote(Message("lost", lost))


class Introduction(ControllerCallback):
    """Runs in Ray's controller: gives the driver a handle to end it with.

    A controller that is killed leaves its claim on the cluster's cores behind, and for three minutes elastic runs
    count them as taken.
    """

    def __init__(self, board: Any) -> None:
        self._board = board

    def after_controller_start(self, train_run_context: Any) -> None:
        """Called by Ray."""
        actor = ray.get_runtime_context().current_actor
        self._board.tell.remote(Message("controller", actor))


def cause(error: BaseException, longest: int = 160) -> str:
    """What a worker died of, in at most `longest` characters: the last line of its own traceback."""
    error = getattr(error, "health_check_failure", error)  # how Ray wraps what its health check ran into
    if isinstance(error, ray.exceptions.RayActorError):
        return "its process or machine is gone"  # Ray says this in 800 characters
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:longest]
