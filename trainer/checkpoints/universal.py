"""convert(): states of one number of ranks as DeepSpeed's Universal Checkpoint, which any number can read.

DeepSpeed's converter runs in a process of its own, this module: it needs no ranks and changes global state.
"""

import os
import runpy
import subprocess
import sys
from pathlib import Path

from data_shards.storage.store import StorageError
from trainer.checkpoints.checkpoint import REMEDY
from trainer.checkpoints.state_files import no_code

_CONVERTER = "deepspeed.checkpoint.ds_to_universal"
_LIMIT_S = 1800


def convert(source: Path, target: Path, url: str) -> None:
    """Write what `source`, of the checkpoint at `url`, holds to `target`.

    Raises:
        StorageError: it cannot be converted.
    """
    command = [sys.executable, "-m", __name__, "--inject_missing_state"]
    command += ["--input_folder", str(source), "--output_folder", str(target)]
    # One worker each is the process itself; others would start without what this one may read.
    command += ["--num_extract_workers", "1", "--num_merge_workers", "1"]
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    if done.returncode:
        line = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:200]
        raise StorageError(
            url,
            f"DeepSpeed cannot convert its state to another number of ranks ({line}); {REMEDY.format(url)}",
        )


def _main() -> None:
    from trainer.engine import state_types  # here, for it takes seconds and the parent has no need of it

    with no_code(*state_types()):
        runpy.run_module(_CONVERTER, run_name="__main__")


if __name__ == "__main__":
    _main()
