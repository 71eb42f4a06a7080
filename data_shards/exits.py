"""One rule for what a command's process exits with."""

import io
import sys
import traceback
from collections.abc import Callable

from data_shards.mistake import UserError
from data_shards.storage.store import StorageError

# What a user can cause, and mend. No other ValueError: those are mistakes of the program.
MISTAKES = (UserError, StorageError, FileExistsError)


class Refused(RuntimeError):
    """The work cannot go on. The message is for the user: a trace of this process would tell nothing."""


def exit_code(command: Callable[[], int]) -> int:
    """Run `command`; a user's mistake becomes one sentence on stderr and 2, Ctrl-C 130, anything else 1.

    What stdout and stderr cannot show is escaped: a name of a file ends no command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return command()
    except (*MISTAKES, Refused) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, MISTAKES) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception:
        traceback.print_exc()
        return 1
