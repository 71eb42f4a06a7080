"""Folders on the local disk that hold a whole state for a while, and the removal of those that a kill left there."""

import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path


def scratch_name(owner: str) -> str:
    """A new name for a folder of `owner`, such as "save-RUN-0", that tells which process made it."""
    return f"commonfate-{owner}-{os.getpid()}-{secrets.token_hex(4)}"


def scratch_path(name: str) -> Path:
    """Where the folder of that name lies."""
    return Path(tempfile.gettempdir()) / name


def sweep(owner: str) -> None:
    """Remove the folders of `owner` whose process is dead. To be called before this process makes one."""
    pattern = re.compile(rf"commonfate-{re.escape(owner)}-(\d+)-[0-9a-f]{{8}}")
    for path in Path(tempfile.gettempdir()).iterdir():
        found = pattern.fullmatch(path.name)
        if found and not _alive(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    # A container that starts again often gives its process the same number.
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
