"""One rule for what a command's process exits with."""

import sys
import traceback
from collections.abc import Callable

from data_shards.storage.store import StorageError


def exit_code(command: Callable[[], int]) -> int:
    """Run `command`; a user's mistake becomes one sentence on stderr and 2, Ctrl-C 130, anything else 1."""
    try:
        return command()
    except (ValueError, StorageError, FileExistsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception:
        traceback.print_exc()
        return 1
