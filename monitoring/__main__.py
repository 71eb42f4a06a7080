"""python -m monitoring render DIR ...: what watches runs, as files."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from monitoring import render


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code. This package is a leaf: the tables of commands are not within reach."""
    parser = ArgumentParser(prog="python -m monitoring")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    purpose = "Write a Prometheus and a Grafana for runs, as files."
    options = commands.add_parser("render", help=purpose, description=purpose)
    render.options(options)
    given = parser.parse_args(argv)
    try:
        return render.run(given)
    except OSError as error:
        print(f"error: {error.filename or given.folder}: {error.strerror}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
