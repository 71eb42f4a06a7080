"""python -m trainer COMMAND ...: the commands of one run."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from data_shards.commands import Command, run_command
from data_shards.exits import exit_code
from trainer.bench import BENCHES

COMMANDS = {
    "train": Command("Train in this process (or under torchrun), without Ray.", "trainer.commands.train"),
    "evaluate": Command("Score runs or checkpoints: the papers' tables.", "trainer.commands.evaluate"),
    "likelihood": Command(
        "Estimate log p(x) of models that sample: Table 1 of SQAIR's paper.", "trainer.commands.likelihood"
    ),
    "compare": Command(
        "Put runs side by side in the table of their paper, on one page.", "trainer.commands.compare"
    ),
    "report": Command("Make a page of pictures, curves and scores of a run.", "trainer.commands.report"),
    "discover": Command("Find the objects in videos of any length.", "trainer.commands.discover"),
    "export": Command("Write a model as a folder that travels, with its card.", "trainer.commands.export"),
    "flow": Command("Show what a model thinks moves where in a video.", "trainer.commands.flow"),
    "recipes": Command("List the recipes, or every field of one.", "trainer.commands.recipes"),
    **{f"bench {name}": bench for name, bench in BENCHES.items()},
}


def main(argv: Sequence[str]) -> int:
    """Run one command; returns its exit code."""
    return run_command("python -m trainer", COMMANDS, argv)


def end(command: Callable[[], int]) -> NoReturn:
    """Run `command` and end this process with its exit code."""
    code = exit_code(command)
    # Looked up, not imported: only a command that has loaded torch can have joined a process group.
    if ranks := sys.modules.get("trainer.process_group"):
        ranks.leave(code)
    sys.exit(code)


if __name__ == "__main__":
    end(lambda: main(sys.argv[1:]))
