"""Where Unix sockets lie: their paths have about a hundred bytes at most, and TMPDIR (Slurm, macOS) is often longer.

Only sockets move: files may need the space that there is at TMPDIR.
"""

import os
import tempfile
from multiprocessing import util

from data_shards.mistake import UserError

LONGEST = 103  # bytes of a socket's path on macOS; Linux takes 4 more
SHORT = ("/tmp", "/var/tmp", "/dev/shm")
_OF_MULTIPROCESSING = "/pymp-12345678/listener-12345678"


def socket_folder(folder: str, tail: str) -> str:
    """`folder` if the path of a socket `tail` below it is short enough, or else a short folder of this machine.

    Raises:
        UserError: there is none that can be written.
    """
    most = LONGEST - len(os.fsencode(tail))
    for found in (folder, *SHORT):
        if len(os.fsencode(found)) <= most and os.access(found, os.W_OK | os.X_OK):
            return found
    raise UserError(
        f"TMPDIR: got {folder}, whose sockets would have paths that are too long, and none of {', '.join(SHORT)} can "
        f"be written; set TMPDIR to a folder whose path has at most {most} bytes"
    )


def shorten_sockets() -> None:
    """Let multiprocessing, in this process and its children, have its own folder where paths are short enough.

    It makes the folder, for this user alone, and removes it when this process ends.
    """
    before = tempfile.tempdir
    tempfile.tempdir = socket_folder(tempfile.gettempdir(), _OF_MULTIPROCESSING)
    try:
        util.get_temp_dir()
    finally:
        tempfile.tempdir = before
