"""Which code is running: recorded in every checkpoint and in config.json."""

import importlib.metadata
import subprocess
from pathlib import Path


def code_revision() -> str:
    """The code that runs: git's description of the checkout, or the installed version."""
    command = ["git", "-C", str(Path(__file__).parents[1]), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return importlib.metadata.version("commonfate")
    return done.stdout.strip() or importlib.metadata.version("commonfate")
