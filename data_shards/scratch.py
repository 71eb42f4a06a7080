"""Folders on the local disk for a while, each of one process of one machine; those that a kill has left are removed.

A folder's name tells whose it is, for the disk may be one that several machines share, and numbers of processes come
again, in a container that starts anew at once. A machine removes what its own dead processes have left, and no other's.
"""

import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME = re.compile(r"commonfate-[a-z]+-([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}")


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """A new folder, gone with the context; before, those that dead processes of this machine have left are removed."""
    sweep()
    path = scratch_path(purpose)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def scratch_path(purpose: str) -> Path:
    """Where a folder of this process may be made, by a word of small letters that says what for."""
    process = os.getpid()
    name = f"commonfate-{purpose}-{_machine()}-{process}-{_started(process)}-{secrets.token_hex(4)}"
    return Path(tempfile.gettempdir()) / name


def sweep() -> None:
    """Remove the folders of this machine's processes that are dead."""
    here = _machine()
    for path in Path(tempfile.gettempdir()).iterdir():
        found = _NAME.fullmatch(path.name)
        if found and found[1] == here and _started(int(found[2])) != found[3]:
            shutil.rmtree(path, ignore_errors=True)


def _machine() -> str:
    """Of those that have the same numbers of processes: containers of one machine may share its name."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def _started(process: int) -> str:
    """When a process began, in ticks since the machine did; "" = it is over, "0" = this system does not tell."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "" if Path("/proc/self/stat").exists() or not _known(process) else "0"
    return "" if words[0] == "Z" else words[19]


def _known(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
