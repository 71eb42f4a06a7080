"""One rule for what a command's process exits with."""

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable

from data_shards.mistake import UserError, printable
from data_shards.storage.store import StorageError

# What a user can cause, and mend. No other ValueError: those are mistakes of the program.
MISTAKES = (UserError, StorageError, FileExistsError)

LINES = "\n\t"  # that a sentence about several things may have


class Refused(RuntimeError):
    """The work cannot go on. The message is for the user: a trace of this process would tell nothing."""


def say(text: str) -> None:
    """A sentence for the user, beside what goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def exit_code(command: Callable[[], int]) -> int:
    """Run `command`; a user's mistake becomes one sentence on stderr and 2, Ctrl-C 130, anything else 1.

    What stdout and stderr cannot show is escaped: a name of a file ends no command. Nor does a terminal obey one: what
    is told of a mistake has printable characters and ends of lines alone.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = command()
        sys.stdout.flush()  # what cannot be written is told here, not when the interpreter ends
        return code
    except (Exception, KeyboardInterrupt) as error:
        return _told(error)


def _told(error: BaseException) -> int:
    """Say what ended a command; returns its exit code."""
    if _came_of_an_interruption(error):
        print("interrupted", file=sys.stderr)
        return 130
    if isinstance(error, (*MISTAKES, Refused)):
        print(f"error: {printable(str(error), LINES)}", file=sys.stderr)
        return 2 if isinstance(error, MISTAKES) else 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EPIPE) and error.filename is None:
        # of a file that has no name here: stdout
        print(f"error: nothing more can be written ({error.strerror})", file=sys.stderr)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (what is left of it is not tried again)
    else:
        traceback.print_exception(error)
    return 1


def _came_of_an_interruption(error: BaseException | None) -> bool:
    """Whether it is Ctrl-C, or was raised while Ctrl-C was leaving: a zip file refuses to be closed half-written."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
