"""python -m cluster COMMAND ...: the commands of a run on several machines."""

import sys
from collections.abc import Sequence

from data_shards.commands import Command, run_command
from data_shards.exits import exit_code

COMMANDS = {
    "train": Command("Train on the workers of a Ray cluster.", "cluster.commands.train"),
    "recipes": Command("List the recipes, or every field of one.", "cluster.commands.recipes"),
}


def main(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    return run_command("python -m cluster", COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
