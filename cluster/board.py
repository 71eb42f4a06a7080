"""Board: where workers and Ray's controller leave messages and heartbeats for the driver, and read whether to stop.

Not `ray.train.report`: that is a collective of all ranks, limited to one call per health check, and it blocks in
the middle of a step while a rank is dying. A message to the board is sent and forgotten.
"""

import logging
import time
from dataclasses import dataclass, replace
from threading import Event, Thread
from typing import Any, Literal

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from monitoring.heartbeat import Beat, Heart
from monitoring.run_state import Past

_POLL_S = 1.0  # how often rank 0 asks whether to stop
_BEAT_S = 1.0  # how often each rank is heard of
_ANSWER_S = 10.0


@dataclass(frozen=True)
class Message:
    """What a worker or the controller tells the driver."""

    kind: Literal[
        "controller", "placing", "placed", "started", "metrics", "notice", "refused", "lost", "resized"
    ]
    # In that order: an actor, a number of workers, {rank: Place}, {rank: worker}, a line, text for the user,
    # (exit code, sentence), {rank: Failure}, nothing.
    content: Any
    worker: str = ""  # who refuses


@dataclass(frozen=True)
class Place:
    """Where Ray has put a rank.

    Attributes:
        host: its name.
        node: Ray's number of the machine.
        pid: of the process there.
        actor: Ray's handle of it.
    """

    host: str
    node: str
    pid: int
    actor: Any = None

    def __str__(self) -> str:
        return f"{self.host} {self.pid}"


@dataclass(frozen=True)
class Failure:
    """What has become of a rank, in words for the user: `gone` with its process, or what it raised.

    What it raised may only be that another rank, a `peer`, does not answer.
    """

    words: str
    gone: bool
    peer: bool = False


@dataclass(frozen=True)
class Heard:
    """A rank's last heartbeat: of which process, and how many seconds ago it came."""

    worker: str
    beat: Beat
    age_s: float


class Board:
    """The actor. Messages are kept until the driver takes them. `submitted`: when the user started the run, unix s."""

    def __init__(self, submitted: float | None = None) -> None:
        self._past = Past(submitted)
        self._messages: list[Message] = []
        self._beats: dict[int, tuple[str, Beat, float]] = {}
        self._stop = False

    def tell(self, message: Message) -> None:
        """Leave a message."""
        self._messages.append(message)
        if message.kind in ("lost", "resized"):  # the group that follows begins when it begins
            self._past = replace(self._past, submitted=None)

    def take(self) -> list[Message]:
        """All messages since the last call."""
        taken, self._messages = self._messages, []
        return taken

    def beat(self, rank: int, worker: str, beat: Beat) -> None:
        """A sign of life of a rank."""
        self._beats[rank] = worker, beat, time.monotonic()

    def beats(self) -> dict[int, Heard]:
        """What was heard of each rank last, also of groups before this one."""
        now = time.monotonic()
        return {rank: Heard(worker, beat, now - at) for rank, (worker, beat, at) in self._beats.items()}

    def stall(self, begun: float, until: float) -> None:
        """Nobody has come forward in that time, unix seconds, and the group was ended."""
        self._past = replace(self._past, stalls=(*self._past.stalls, (begun, until)))

    def past(self) -> Past:
        """What a worker that begins cannot know of the time before."""
        return self._past

    def stop(self) -> None:
        """Ask the run to save and end."""
        self._stop = True

    def stopping(self) -> bool:
        """Whether the run was asked to save and end."""
        return self._stop


def open_board(submitted: float | None = None) -> Any:
    """A board on the driver's machine, which lives as long as the driver; the run was `submitted` at unix seconds."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote(submitted)


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


class Pulse:
    """Sends a rank's heartbeats to the board, from a thread of its own: also while the loop is blocked."""

    def __init__(self, board: Any, rank: int, worker: str, heart: Heart) -> None:
        self._board, self._rank, self._worker, self._heart = board, rank, worker, heart
        self._closed = Event()
        self._thread = Thread(target=self._send, name="pulse", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send a last one, in which nobody will miss those that do not follow."""
        self._closed.set()
        self._thread.join(timeout=_ANSWER_S)
        self._send_one()

    def _send(self) -> None:
        self._send_one()
        while not self._closed.wait(_BEAT_S):
            self._send_one()

    def _send_one(self) -> None:
        self._board.beat.remote(self._rank, self._worker, self._heart.beat())


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
