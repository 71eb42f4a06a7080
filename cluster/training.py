"""train(): trainer's loop on the workers of a Ray cluster, watched from the driver.

Ray places the workers, notices when one is lost and starts the group again; the loop then resumes from the newest
complete checkpoint on storage. Ray's own checkpoints are not used: what Ray has registered can lag behind.

worker.py is what each worker does, driver.py what this process does meanwhile, controller.py what Ray's own process
between them is told to do, board.py where they leave each other word.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from cluster.board import open_board
from cluster.config import ClusterConfig
from cluster.controller import Group, Introduction
from cluster.driver import Driver
from cluster.machines import worker_cpus, worker_resources
from cluster.stop import Stop
from cluster.submission import submitted_at
from cluster.worker import Assignment, work
from data_shards.scratch import scratch_folder
from monitoring.run_state import RunState

_COLLECTIVE_S = 300  # for a rank to come to a collective, beyond what its store may take


def train(
    config: ClusterConfig,
    *,
    embedded: bool,
    waits: bool = True,
    targets: str | None = None,
    report: Callable[[dict[str, Any]], None],
    say: Callable[[str], None],
    stop: Stop,
) -> RunState:
    """Run on the connected Ray; returns how it ended, finished or interrupted.

    Args:
        config: the run and its machines.
        embedded: whether Ray is on this machine alone.
        waits: for its place on the cluster, as long as the config says; else it has PLACED_S for it, or fails.
        targets: URL to announce the workers' metrics to; None = what the config says.
        report: called with lines of metrics, as they come from the workers.
        say: called with each sentence for the user.
        stop: asked, the run saves and ends.

    Raises:
        UserError: a mistake of the user, also one that a worker found: one sentence.
        Refused: the run failed; the message is what the worker said.
    """
    board = open_board(submitted_at())
    run = config.run()
    threads = run.engine.threads or worker_cpus(config.scaling, embedded=embedded)
    run = run.model_copy(update={"engine": run.engine.model_copy(update={"threads": threads})})
    if targets is not None:
        run = run.model_copy(update={"monitoring": run.monitoring.model_copy(update={"targets": targets})})
    with scratch_folder("ray") as scratch:  # what Ray Train insists on writing; nothing in it is needed again
        folder = os.getcwd() if embedded else None
        trainer = _trainer(config, Assignment(run, board, folder), scratch, embedded=embedded, waits=waits)
        with Driver(board, config, report, say, stop) as driver:
            return driver.watch(trainer)


def _trainer(
    config: ClusterConfig, assignment: Assignment, scratch: Path, *, embedded: bool, waits: bool
) -> TorchTrainer:
    scaling = config.scaling
    # As dictionaries: Ray's annotations are those of its first version.
    workers: dict[str, Any] = {
        "num_workers": scaling.num_workers,
        "use_gpu": scaling.use_gpu,
        "resources_per_worker": worker_resources(scaling, embedded=embedded),
        "placement_strategy": scaling.placement,
        "elastic_resize_monitor_interval_s": scaling.resize_s,
    }
    failures: dict[str, Any] = {
        "max_failures": scaling.max_failures,
        "controller_failure_limit": -1 if waits else 0,
    }
    run: dict[str, Any] = {
        "name": f"run-{time.time_ns()}",  # where a name exists, Ray would resume what it has registered under it
        "storage_path": str(scratch),
        "failure_config": ray.train.FailureConfig(**failures),
        "callbacks": [Group(assignment.board), Introduction(assignment.board)],
    }
    loop_function: Any = work
    # A rank may wait in a collective for one whose store is out, and that for its whole patience.
    patience = math.ceil(config.data.deadline) + _COLLECTIVE_S
    return TorchTrainer(
        loop_function,
        train_loop_config={"assignment": assignment},
        torch_config=TorchConfig(timeout_s=patience),
        scaling_config=ray.train.ScalingConfig(**workers),
        run_config=ray.train.RunConfig(**run),
    )
