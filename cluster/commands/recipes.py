"""python -m cluster recipes [RECIPE [field.path=value ...]]: the named runs, or every field of one on a cluster.

Each field can be given back in the words it is listed in: python -m cluster train RECIPE field.path=value.
"""

from argparse import ArgumentParser, Namespace

from cluster.config import ClusterConfig
from trainer.commands.recipes import show
from trainer.overrides import add_arguments


def options(parser: ArgumentParser) -> None:
    """As of a command that trains; without any, the list of recipes."""
    add_arguments(parser)


def run(given: Namespace) -> int:
    """Print one line for each recipe, or for each field of one."""
    return show(given, ClusterConfig)
