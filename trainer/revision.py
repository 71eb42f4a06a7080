"""Which code is running: recorded in every checkpoint and in config.json."""

import importlib.metadata
import os
import subprocess
from pathlib import Path

HANDED_OVER = "COMMONFATE_REVISION"
"""Variable in which whoever ships code without its .git says what it is."""

_HOME = Path(__file__).parents[1]


def code_revision() -> str:
    """The code that runs: what its shipper says, or git's description of the checkout, or the installed version."""
    return os.environ.get(HANDED_OVER) or described(_HOME) or importlib.metadata.version("commonfate")


def described(folder: Path) -> str:
    """Git's description of a checkout, with -dirty where files differ from it; "" = it is none."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
