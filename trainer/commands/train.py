"""python -m trainer train RECIPE [field.path=value ...]: one run, or a chain of runs, in this process."""

from argparse import ArgumentParser, Namespace

from monitoring.run_state import RunState
from trainer import overrides
from trainer.config import RunConfig


def options(parser: ArgumentParser) -> None:
    """What to train: a recipe or a saved config, and the fields that differ."""
    overrides.add_arguments(parser)


def run(given: Namespace) -> int:
    """Train; 130 if interrupted."""
    config = overrides.from_arguments(given, RunConfig)
    from trainer import chain  # takes a second more, of which a config that is refused has no need

    result = chain.train(config)
    return 130 if result.state is RunState.INTERRUPTED else 0
