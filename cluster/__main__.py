"""python -m cluster COMMAND ...: the commands of a run on several machines."""

import sys
from collections.abc import Sequence

from data_shards.commands import Command, run_command
from data_shards.exits import exit_code

COMMANDS = {
    "train": Command("Train on the workers of a Ray cluster.", "cluster.commands.train"),
    "tune": Command("Search for good values of fields, by many runs.", "cluster.commands.tune"),
    "preflight": Command(
        "Look at driver, nodes and store before a run is started.", "cluster.commands.preflight"
    ),
    "submit": Command("Give a run to a cluster as a job, and follow it.", "cluster.commands.submit"),
    "status": Command("Tell how a job is doing.", "cluster.commands.status"),
    "logs": Command("Print a job's log, or follow it.", "cluster.commands.logs"),
    "stop": Command("Ask a job to save and end, and wait for it.", "cluster.commands.stop"),
    "render": Command("Write a run as files for Kubernetes, Slurm and clouds.", "cluster.commands.render"),
    "rehearse": Command("Try what a run survives, with faults by a seed.", "cluster.commands.rehearse"),
    "recipes": Command("List the recipes, or every field of one.", "cluster.commands.recipes"),
}


def main(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    return run_command("python -m cluster", COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
