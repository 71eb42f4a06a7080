"""work(): trainer's loop on one worker of a Ray cluster, with a board to the driver."""

import logging
import os
import socket
from dataclasses import dataclass
from typing import Any

import ray
import ray.train

from cluster.board import Message, Notices, Pulse, Stopping, Throttle
from data_shards.exits import MISTAKES
from monitoring.heartbeat import Heart
from monitoring.run_state import RunState
from trainer.config import RunConfig

_ANSWER_S = 60.0
_OURS = ("cluster", "trainer", "data_shards", "monitoring")


@dataclass(frozen=True)
class Assignment:
    """What each worker is given. `folder` is where relative paths begin, None = where Ray put the worker."""

    config: RunConfig
    board: Any
    folder: str | None


def work(assignment: dict[str, Assignment]) -> RunState:
    """One worker: trainer's loop. An error that another start would repeat is left on the board first."""
    mine = assignment["assignment"]
    rank = ray.train.get_context().get_world_rank()
    heart = Heart(past=ray.get(mine.board.past.remote(), timeout=_ANSWER_S))
    if mine.folder is not None:
        os.chdir(mine.folder)
    notices = Notices(mine.board, rank)
    for name in _OURS:
        logging.getLogger(name).addHandler(notices)
    worker = f"{socket.gethostname()} {os.getpid()}"
    mine.board.tell.remote(Message("started", {rank: worker}))
    pulse = Pulse(mine.board, rank, worker, heart)
    stopping = Stopping(mine.board) if rank == 0 else None
    report = Throttle(mine.board)
    try:
        # Here, because it takes seconds, in which the driver hears of this process already.
        from trainer import chain

        return chain.train(mine.config, report=report, stopping=stopping, heart=heart).state
    except (*MISTAKES, FloatingPointError) as error:
        code = 2 if isinstance(error, MISTAKES) else 1
        # Wait: this process may be ended as soon as the error is raised.
        ray.get(mine.board.tell.remote(Message("refused", (code, str(error)), worker)), timeout=10)
        raise
    finally:
        report.flush()
        if stopping:
            stopping.close()
        heart.enter(RunState.FINISHED)  # also where it was refused: no more beats follow
        pulse.close()
