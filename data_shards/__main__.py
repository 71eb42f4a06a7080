"""python -m data_shards COMMAND ...: data sets are built, verified and looked at."""

import sys
from collections.abc import Sequence

from data_shards.commands import Command, run_command
from data_shards.exits import exit_code

COMMANDS = {
    "build": Command("Write the clips of a source as a data set.", "data_shards.build"),
    "check": Command("Verify a data set: all that can be wrong with it, told at once.", "data_shards.check"),
    "show": Command("Draw clips of a data set, and print its statistics.", "data_shards.show"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    return exit_code(lambda: run_command("python -m data_shards", COMMANDS, words))


if __name__ == "__main__":
    sys.exit(main())
