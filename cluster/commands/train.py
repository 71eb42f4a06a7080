"""python -m cluster train RECIPE [field.path=value ...]: the main job, on an embedded Ray or a given one."""

import sys
from argparse import ArgumentParser, Namespace
from contextlib import closing

from cluster.config import ClusterConfig
from cluster.machines import connected, discovery, given_address
from cluster.stop import SAVED, by_signals, interruptible
from data_shards.storage.place import open_store
from monitoring.run_state import RunState
from trainer.checkpoints.checkpoint import newest
from trainer.overrides import add_arguments, from_arguments
from trainer.progress import Progress


def options(parser: ArgumentParser) -> None:
    """What to train, and on which Ray."""
    add_arguments(parser)
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="of a Ray cluster, or auto; RAY_ADDRESS by default, or else an embedded Ray",
    )


def run(given: Namespace) -> int:
    """Train; 130 if interrupted."""
    more = [f"ray.address={given.address}"] if given.address else []
    config = from_arguments(given, ClusterConfig, more)
    config.check()
    with interruptible(), discovery(config) as targets:
        if given_address(config) is None:  # on a cluster, checkpoints may be in the workers' reach alone
            config.require_set()
            newest(open_store(config.output))
        with connected(config) as embedded:
            if not embedded:
                config.require_set()
            from cluster import training  # after Ray's settings, which `import ray` reads

            with closing(Progress(config.steps)) as progress, by_signals(progress.say) as stop:
                state = training.train(
                    config,
                    embedded=embedded,
                    targets=targets,
                    report=progress.line,
                    say=progress.say,
                    stop=stop,
                )
    if state is RunState.INTERRUPTED:
        print(SAVED, file=sys.stderr)
    return 130 if state is RunState.INTERRUPTED else 0
