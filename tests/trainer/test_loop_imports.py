"""What a training process loads: nothing that draws, nor what decodes pictures and films; what is slow, when needed."""

import subprocess
import sys

import pytest

UNUSED = ("av", "PIL", "matplotlib", "deepspeed", "scipy")


@pytest.mark.parametrize("module", ["data_shards.loader", "trainer.loop"])
def test_neither_the_loader_nor_the_loop_loads_what_draws_and_decodes(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {UNUSED} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=240)
    assert found.stdout.strip() == "[]", found.stderr
