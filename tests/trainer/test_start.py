"""What a process that trains loads before its first step."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch import TINY

COMPILER = """
import sys
from trainer.__main__ import main
code = main(sys.argv[1:])
sys.exit(code or ("torch's compiler was imported" if "torch._dynamo" in sys.modules else 0))
"""


@pytest.mark.parametrize("remat", ["none", "every:2"])
def test_training_does_not_load_the_compiler(data: str, tmp_path: Path, remat: str) -> None:
    words = [*TINY, f"data.url={data}", f"output={tmp_path}/run", "steps=1", f"model.remat={remat}"]
    command = [sys.executable, "-c", COMPILER, "train", "demo", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
