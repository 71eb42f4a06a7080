"""The commands of trainer: told without loading what they need."""

import subprocess
import sys

import pytest

from trainer.__main__ import COMMANDS, main

HEAVY = ("torch", "deepspeed", "pydantic", "numpy", "matplotlib", "av", "PIL")


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    code = f"""
import sys
from trainer.__main__ import main
assert main(["--help"]) == 0
print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == "[]\n"
    for name, command in COMMANDS.items():
        assert f"\n  {name} " in done.stdout
        assert f" {command.purpose}\n" in done.stdout
        assert len(f"{name:22}{command.purpose}") <= 100


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_its_options_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*name.split(), "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m trainer {name}")
