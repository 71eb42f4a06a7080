"""The console script `commonfate`: the commands of all packages under one name, beside `python -m PACKAGE`."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from data_shards.commands import Command

HOME = Path(__file__).parents[1]
PACKAGES = ("data_shards", "model", "monitoring", "trainer")


def main() -> NoReturn:
    """Run the command that the words after `commonfate` name, and exit with its code."""
    if mistake := stranger():
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(2)
    from data_shards.commands import run_command
    from trainer.__main__ import end

    end(lambda: run_command("commonfate", commands(), sys.argv[1:]))


def stranger() -> str | None:
    """What to say where another package has the name of one of ours and is found before it; None where none is."""
    for name in PACKAGES:
        spec = find_spec(name)
        found = Path(spec.origin).parent if spec and spec.origin else None
        if found != HOME / name:
            return (
                f"the package {name} that Python finds is {found or 'nowhere'}, not commonfate's {HOME / name}; give "
                "commonfate a virtual environment of its own"
            )
    return None


def commands() -> "dict[str, Command]":
    """The tables of all packages in one: those of `trainer` as they are called there, others behind a word."""
    from cluster.__main__ import COMMANDS as OF_CLUSTER
    from data_shards.__main__ import COMMANDS as OF_DATA
    from data_shards.commands import Command
    from trainer.__main__ import COMMANDS as OF_TRAINER

    render = Command("Write a Prometheus and a Grafana for runs, as files.", "monitoring.render")
    completion = Command("Print what makes a shell complete these words.", "cluster.commands.completion")
    return (
        {f"data {name}": command for name, command in OF_DATA.items()}
        | OF_TRAINER
        | {f"cluster {name}": command for name, command in OF_CLUSTER.items()}
        | {"monitoring render": render, "completion": completion}
    )
