"""python -m trainer train RECIPE [field.path=value ...]: one run, or a chain of runs, in this process."""

from argparse import ArgumentParser, Namespace

from monitoring.run_state import RunState
from trainer import chain, overrides
from trainer.config import RunConfig


def options(parser: ArgumentParser) -> None:
    """What to train: a recipe or a saved config, and the fields that differ."""
    overrides.add_arguments(parser)


def run(given: Namespace) -> int:
    """Train; 130 if interrupted."""
    result = chain.train(overrides.from_arguments(given, RunConfig))
    return 130 if result.state is RunState.INTERRUPTED else 0
