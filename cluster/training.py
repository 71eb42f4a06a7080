"""train(): trainer's loop on the workers of a Ray cluster, watched from the driver.

Ray places the workers, notices when one is lost and starts the group again; the loop then resumes from the newest
complete checkpoint on storage. Ray's own checkpoints are not used: what Ray has registered can lag behind.
"""

import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer

from cluster.board import Introduction, Losses, Message, Notices, Stopping, Throttle, open_board
from cluster.config import ClusterConfig
from cluster.machines import cluster_resources, worker_cpus
from cluster.progress import Progress
from data_shards.manifest import read_manifest
from data_shards.storage.store import StorageError
from monitoring.run_state import RunState
from trainer.config import RunConfig

_ABORT_S = 10.0
_LOOK_S = 0.3  # how often the driver reads the board
_SAME_KEY_S = 1.0  # `timeout`, `make` and others pass on a Ctrl-C that the terminal has sent to all already
_OURS = ("cluster", "trainer", "data_shards", "monitoring")
_MISTAKES = (ValueError, StorageError, FileExistsError)


@dataclass(frozen=True)
class Assignment:
    """What each worker is given. `folder` is where relative paths begin, None = where Ray put the worker."""

    config: RunConfig
    board: Any
    folder: str | None


def work(assignment: dict[str, Assignment]) -> RunState:
    """One worker: trainer's loop. An error that another start would repeat is left on the board first."""
    from trainer import loop  # here, because it imports DeepSpeed, which the driver has no use for

    mine = assignment["assignment"]
    rank = ray.train.get_context().get_world_rank()
    if mine.folder is not None:
        os.chdir(mine.folder)
    notices = Notices(mine.board, rank)
    for name in _OURS:
        logging.getLogger(name).addHandler(notices)
    mine.board.tell.remote(Message("started", {rank: os.getpid()}))
    stopping = Stopping(mine.board) if rank == 0 else None
    report = Throttle(mine.board)
    try:
        return loop.train(mine.config, report=report, stopping=stopping).state
    except (*_MISTAKES, FloatingPointError) as error:
        code = 2 if isinstance(error, _MISTAKES) else 1
        # Wait: this process may be ended as soon as the error is raised.
        ray.get(mine.board.tell.remote(Message("refused", (code, str(error)))), timeout=10)
        raise
    finally:
        report.flush()
        if stopping:
            stopping.close()


class Refused(RuntimeError):
    """The run cannot go on, and starting it again would not help; the message is for the user."""


def train(config: ClusterConfig, *, embedded: bool, targets: str | None = None) -> RunState:
    """Run on the connected Ray; returns how it ended, finished or interrupted.

    Args:
        config: the run and its machines.
        embedded: whether Ray is on this machine alone.
        targets: URL to announce the workers' metrics to; None = what the config says.

    Raises:
        ValueError: a mistake of the user, also one that a worker found: one sentence.
        Refused: the run failed; the message is what the worker said.
        KeyboardInterrupt: interrupted a second time.
    """
    if embedded:
        read_manifest(config.data.url)  # a typo is told now, not by a worker in half a minute
    board = open_board()
    run = config.run()
    threads = run.engine.threads or worker_cpus(config.scaling, embedded=embedded)
    run = run.model_copy(update={"engine": run.engine.model_copy(update={"threads": threads})})
    if targets is not None:
        run = run.model_copy(update={"monitoring": run.monitoring.model_copy(update={"targets": targets})})
    with _scratch() as scratch:
        folder = os.getcwd() if embedded else None
        trainer = _trainer(config, Assignment(run, board, folder), scratch, embedded=embedded)
        with Driver(board, config, Progress(run.steps)) as driver:
            return driver.watch(trainer)


class Driver:
    """Watches a run: shows its progress, passes on the wish to stop, bounds the wait for workers."""

    def __init__(self, board: Any, config: ClusterConfig, progress: Progress) -> None:
        self._board, self._config, self._progress = board, config, progress
        self._waiting_since: float | None = time.monotonic()
        self._restarts = 0
        self._outcome: RunState | BaseException | None = None
        self._previous: dict[int, Any] = {}
        self._stopped_at: float | None = None
        self._controller: Any = None

    def __enter__(self) -> "Driver":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._progress.close()
        # A controller that still waits for machines never answers; its claim on them lapses after three minutes.
        if self._outcome is None and self._controller is not None and self._waiting_since is None:
            with suppress(
                ray.exceptions.RayError
            ):  # it ends by ending its own process, which is an error here
                ray.get(self._controller.abort.remote(), timeout=_ABORT_S)

    def watch(self, trainer: TorchTrainer) -> RunState:
        """Run `trainer` to its end. It runs in a thread, so that this one can answer signals."""
        thread = Thread(target=self._fit, args=(trainer,), name="ray-train", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK_S)
            for message in ray.get(self._board.take.remote(), timeout=60):
                self._read(message)
            self._bound_the_wait()
        for message in ray.get(self._board.take.remote(), timeout=60):
            self._read(message)
        if isinstance(self._outcome, RunState):
            return self._outcome
        raise Refused(_reason(self._outcome)) from None

    def _fit(self, trainer: TorchTrainer) -> None:
        try:
            fitted: Any = trainer.fit()
            self._outcome = fitted.return_value
        except BaseException as error:
            self._outcome = error

    def _read(self, message: Message) -> None:
        content = message.content
        if message.kind == "metrics":
            self._progress.line(content)
        elif message.kind == "notice":
            self._progress.say(content)
        elif message.kind == "controller":
            self._controller = content
        elif message.kind == "started":
            self._waiting_since = None
        elif message.kind == "lost":
            self._restarts += 1
            self._waiting_since = time.monotonic()
            reasons = "; ".join(f"rank {rank}: {said}" for rank, said in sorted(content.items()))
            allowed = self._config.scaling.max_failures
            then = "starting again from the newest checkpoint" if self._restarts <= allowed else "giving up"
            self._progress.say(f"worker lost ({reasons}); {then} ({self._restarts} of {allowed})")
        else:
            code, sentence = content
            raise ValueError(sentence) if code == 2 else Refused(sentence)

    def _bound_the_wait(self) -> None:
        """Ray itself would try for ever."""
        limit = self._config.ray.start_timeout_s
        if self._waiting_since is None or time.monotonic() - self._waiting_since < limit:
            return
        there = ", ".join(f"{name} {count:g}" for name, count in cluster_resources().items())
        raise ValueError(
            f"field scaling.num_workers: no room for {self._config.scaling.least} workers within {limit:g} s; the "
            f"cluster has {there}; ask for fewer workers or resources, or raise ray.start_timeout_s"
        )

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._stopped_at is not None:
            if now - self._stopped_at < _SAME_KEY_S:
                return
            raise KeyboardInterrupt
        self._stopped_at = now
        if self._waiting_since is not None:
            raise KeyboardInterrupt  # nothing runs yet that could be saved
        self._progress.say("stopping: the run saves and ends; once more to stop at once")
        self._board.stop.remote()


def _trainer(config: ClusterConfig, assignment: Assignment, scratch: Path, *, embedded: bool) -> TorchTrainer:
    scaling = config.scaling
    resources = {"CPU": float(worker_cpus(scaling, embedded=embedded)), **scaling.resources}
    if scaling.use_gpu:
        resources["GPU"] = 1.0
    # As dictionaries: Ray's annotations are those of its first version.
    workers: dict[str, Any] = {
        "num_workers": scaling.num_workers,
        "use_gpu": scaling.use_gpu,
        "resources_per_worker": resources,
        "placement_strategy": scaling.placement,
        "elastic_resize_monitor_interval_s": scaling.resize_s,
    }
    run: dict[str, Any] = {
        "name": f"run-{time.time_ns()}",  # where a name exists, Ray would resume what it has registered under it
        "storage_path": str(scratch),
        "failure_config": ray.train.FailureConfig(max_failures=scaling.max_failures),
        "callbacks": [Losses(assignment.board), Introduction(assignment.board)],
    }
    loop_function: Any = work
    return TorchTrainer(
        loop_function,
        train_loop_config={"assignment": assignment},
        scaling_config=ray.train.ScalingConfig(**workers),
        run_config=ray.train.RunConfig(**run),
    )


def _reason(error: BaseException | None) -> str:
    """What to tell the user of a failed run: the worker's own traceback, not Ray's around it."""
    if isinstance(error, ray.train.WorkerGroupError):
        rank, failure = sorted(error.worker_failures.items())[0]
        return f"rank {rank} failed:\n{str(failure).strip()}"
    return str(error).strip() or type(error).__name__


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for what Ray Train insists on writing; nothing in it is needed again."""
    folder = Path(tempfile.mkdtemp(prefix="commonfate-ray-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
