"""python -m trainer train | evaluate | compare | report | flow | bench | recipes.

Exit codes: 0 done, 2 the user's mistake (one sentence on stderr), 1 anything else, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Callable

from data_shards.exits import exit_code


def main(argv: list[str]) -> int:
    """Run one command; returns its exit code."""
    commands: dict[str, Callable[[list[str]], int]] = {
        "train": train,
        "evaluate": evaluate,
        "compare": compare,
        "report": report,
        "flow": flow,
        "bench": bench,
        "recipes": recipes,
    }
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    parser.add_argument("command", choices=commands)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see COMMAND --help")
    given = parser.parse_args(argv)
    return commands[given.command](given.arguments)


def train(argv: list[str]) -> int:
    """Train in this process (or under torchrun), without Ray."""
    parser = argparse.ArgumentParser(prog="python -m trainer train", description=train.__doc__)
    from monitoring.run_state import RunState
    from trainer import loop, overrides
    from trainer.config import RunConfig

    overrides.add_arguments(parser)
    result = loop.train(overrides.from_arguments(parser.parse_intermixed_args(argv), RunConfig))
    return 130 if result.state is RunState.INTERRUPTED else 0


def evaluate(argv: list[str]) -> int:
    """Score a checkpoint."""
    from trainer.commands import evaluate

    return evaluate.main(argv)


def compare(argv: list[str]) -> int:
    """Put video autoencoders side by side: Table 1 and figure 5 of their paper."""
    from trainer.commands import compare

    return compare.main(argv)


def report(argv: list[str]) -> int:
    """Make a page of pictures, curves and scores of a run."""
    from trainer.commands import report

    return report.main(argv)


def flow(argv: list[str]) -> int:
    """Show what a model thinks moves where in a video."""
    from trainer.commands import flow

    return flow.main(argv)


def bench(argv: list[str]) -> int:
    """Measure on this machine: unroll | loader | step."""
    parser = argparse.ArgumentParser(prog="python -m trainer bench", description=bench.__doc__)
    parser.add_argument("what", choices=("unroll", "loader", "step"))
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args(argv)
    import importlib

    main: Callable[[list[str]], int] = importlib.import_module(f"trainer.bench.{given.what}").main
    return main(given.arguments)


def recipes(argv: list[str]) -> int:
    """List the recipes."""
    argparse.ArgumentParser(prog="python -m trainer recipes", description=recipes.__doc__).parse_args(argv)
    from trainer.recipes import RECIPES

    for name, recipe in RECIPES.items():
        print(f"{name:24} {(recipe.__doc__ or '').strip().splitlines()[0]}")
    return 0


if __name__ == "__main__":
    code = exit_code(lambda: main(sys.argv[1:]))
    # Looked up, not imported: only a command that has loaded torch can have joined a process group.
    if ranks := sys.modules.get("trainer.process_group"):
        ranks.leave(code)
    sys.exit(code)
