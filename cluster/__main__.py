"""python -m cluster train RECIPE [field.path=value ...]: the main job, on an embedded Ray or a given one.

Exit codes: 0 done, 2 the user's mistake (one sentence on stderr), 1 anything else, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import closing

from data_shards.exits import exit_code


def main(argv: list[str]) -> int:
    """Run one command; returns its exit code."""
    commands: dict[str, Callable[[list[str]], int]] = {"train": train}
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    parser.add_argument("command", choices=commands)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see COMMAND --help")
    given = parser.parse_args(argv)
    return commands[given.command](given.arguments)


def train(argv: list[str]) -> int:
    """Train on the workers of a Ray cluster."""
    parser = argparse.ArgumentParser(prog="python -m cluster train", description=train.__doc__)
    from cluster.config import ClusterConfig
    from cluster.machines import connected, discovery
    from cluster.stop import by_signals, interruptible
    from trainer import overrides
    from trainer.progress import Progress

    overrides.add_arguments(parser)
    parser.add_argument(
        "--address", help="of a Ray cluster (host:port or auto); default RAY_ADDRESS, or else an embedded Ray"
    )
    given = parser.parse_intermixed_args(argv)
    more = [f"ray.address={given.address}"] if given.address else []
    config = overrides.from_arguments(given, ClusterConfig, more)
    config.check()
    with interruptible(), discovery(config) as targets, connected(config) as embedded:
        from cluster import driver, training  # after Ray's settings, which `import ray` reads
        from monitoring.run_state import RunState

        try:
            with closing(Progress(config.steps)) as progress, by_signals(progress.say) as stop:
                state = training.train(
                    config,
                    embedded=embedded,
                    targets=targets,
                    report=progress.line,
                    say=progress.say,
                    stop=stop,
                )
        except driver.Refused as error:  # the worker's words; a trace of this process tells nothing
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 130 if state is RunState.INTERRUPTED else 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
