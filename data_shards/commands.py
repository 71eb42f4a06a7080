"""The commands of a package as a table: what its `--help` lists, and what runs."""

import sys
from argparse import PARSER, ArgumentError, ArgumentParser, ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import takewhile
from pathlib import Path

from data_shards.mistake import UserError
from data_shards.storage.place import canonical, local_path

HELP = {"-h", "--help"}
EXITS = "Exit codes: 0 done, 2 the user's mistake (one sentence on stderr), 1 anything else, 130 interrupted."


@dataclass(frozen=True)
class Command:
    """One command. Its module is loaded when it is called for, and with it what only this command needs.

    The module has two functions: `options(parser)` adds what may follow the command's name, `run(given)` does the
    work with what was given and returns the exit code. All but the first line of its docstring ends the --help.
    """

    purpose: str
    """One line."""
    module: str
    """Its name in full."""

    def parser(self, prog: str | None = None) -> ArgumentParser:
        """What reads the words after the command's name; `prog` is what stands before them."""
        module = import_module(self.module)
        more = (module.__doc__ or "").partition("\n\n")[2]
        parser = ArgumentParser(prog=prog, description=self.purpose, epilog=more, exit_on_error=False)
        module.options(parser)
        return parser

    def run(self, argv: Sequence[str], prog: str | None = None) -> int:
        """Run it with the words after its name; returns the exit code.

        Raises:
            SystemExit: the words are none of its options, or ask for --help.
            UserError: an option has a value that it does not take, or another mistake of the user.
        """
        parser = self.parser(prog)
        nested = any(action.nargs == PARSER for action in parser._actions)
        try:
            given = parser.parse_args(argv) if nested else parser.parse_intermixed_args(argv)
        except ArgumentError as error:  # a sentence is enough where the usage would say no more
            raise UserError(str(error)) from None
        code: int = import_module(self.module).run(given)
        return code


def run_command(prog: str, commands: Mapping[str, Command], argv: Sequence[str]) -> int:
    """Run the command whose name, of one word or more, `argv` begins with; returns its exit code.

    Without one, tell which there are: of those that begin with the words given, with what purpose.

    Raises:
        UserError: no command begins with these words.
    """
    for name in sorted(commands, key=len, reverse=True):  # `bench step conv-lstm` before `bench step`
        words = name.split()
        if list(argv[: len(words)]) == words:
            return commands[name].run(argv[len(words) :], f"{prog} {name}")
    asked = list(takewhile(lambda word: not word.startswith("-"), argv))
    under = {name: command for name, command in commands.items() if name.split()[: len(asked)] == asked}
    if not under:
        raise UserError(f"command {' '.join(asked)} does not exist; have: {', '.join(commands)}")
    helped = not HELP.isdisjoint(argv)
    print(overview(prog, under), file=sys.stdout if helped else sys.stderr)
    return 0 if helped else 2


def overview(prog: str, commands: Mapping[str, Command]) -> str:
    """Each command with its purpose, a line each."""
    width = max(map(len, commands))
    rows = "\n".join(f"  {name:{width}}  {command.purpose}" for name, command in commands.items())
    return f"usage: {prog} COMMAND ...\n\n{rows}\n\n{prog} COMMAND --help says what may follow it.\n{EXITS}"


def given_place(word: str) -> str:
    """The type of an option that names a place: a path or URL, in its one spelling."""
    try:
        return canonical(word)
    except UserError as error:  # of other errors argparse tells nothing
        raise ArgumentTypeError(str(error)) from None


def given_path(word: str) -> Path:
    """The type of an option that names a file or a folder on this machine."""
    try:
        return local_path(word)
    except UserError as error:
        raise ArgumentTypeError(str(error)) from None
