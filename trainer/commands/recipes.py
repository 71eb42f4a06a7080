"""python -m trainer recipes: the named runs."""

from argparse import ArgumentParser, Namespace

from trainer.recipes import RECIPES


def options(parser: ArgumentParser) -> None:
    """None yet."""


def run(given: Namespace) -> int:
    """Print one line for each recipe."""
    for name, recipe in RECIPES.items():
        print(f"{name:24} {(recipe.__doc__ or '').strip().splitlines()[0]}")
    return 0
