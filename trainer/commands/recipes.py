"""python -m trainer recipes [RECIPE [field.path=value ...]]: the named runs, or every field of one.

Each field can be given back in the words it is listed in: python -m trainer train RECIPE field.path=value.
"""

import os
import sys
from argparse import ArgumentParser, Namespace

from trainer.config import RunConfig
from trainer.fields import listed_fields, listing
from trainer.overrides import add_arguments, from_arguments
from trainer.recipes import RECIPES


def options(parser: ArgumentParser) -> None:
    """As of a command that trains; without any, the list of recipes."""
    add_arguments(parser)


def run(given: Namespace) -> int:
    """Print one line for each recipe, or for each field of one."""
    return show(given, RunConfig)


def show(given: Namespace, cls: type[RunConfig]) -> int:
    """As `run`, with the fields of `cls`."""
    if given.recipe or given.config:
        text = listing(listed_fields(from_arguments(given, cls)))
        try:
            print(text, flush=True)
        except BrokenPipeError:  # `| head` has seen enough; nor shall the interpreter's end try again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    for name, recipe in RECIPES.items():
        print(f"{name:24} {(recipe.__doc__ or '').strip().splitlines()[0]}")
    return 0
