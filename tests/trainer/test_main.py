"""The commands of trainer: told without loading what they need."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data_shards.exits import exit_code
from tests.saved_run import save_run
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


def test_a_forged_manifest_is_told_before_torch_is_loaded(tmp_path: Path, tiny_set: str) -> None:
    heavy = ("torch", "scipy", "matplotlib")
    code = f"""
import sys
from data_shards.exits import exit_code
from trainer.__main__ import main
print(exit_code(lambda: main(sys.argv[1:])), [name for name in {heavy} if name in sys.modules])
"""
    run = Path(save_run(tmp_path / "run", str(tmp_path / "set")))
    manifests = {
        run: next(run.rglob("checkpoint.json")),
        tmp_path / "set": tmp_path / "set" / "manifest.json",
    }
    for forged in manifests.values():
        shutil.copytree(tiny_set, tmp_path / "set", dirs_exist_ok=True)
        before = forged.read_bytes()
        forged.write_text("[" * 1000)
        done = subprocess.run(
            [sys.executable, "-c", code, "evaluate", str(run)], capture_output=True, text=True, timeout=60
        )
        assert done.stdout == "2 []\n"
        assert done.stderr.startswith(f"error: {forged}: is ")
        forged.write_bytes(before)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_its_options_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*name.split(), "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m trainer {name}")


def test_a_mistake_of_the_user_is_a_sentence_and_one_of_the_program_a_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b'{"output": "caf\xe9"}')  # of an editor that writes latin-1
    odd = (f"seed={'9' * 5000}", f"seed={1 << 63}", f"steps={'[' * 99999}", "output=caf\udce9")
    wrong = ("optim.lr=fast", "batch.size=0", "monitoring.targets=http://[::1", *odd)
    for words in (*(["demo", word] for word in wrong), ["--config", str(file)]):
        assert exit_code(lambda: main(["recipes", *words])) == 2  # noqa: B023
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith("error: field optim.lr: " if "fast" in words[-1] else "error: ")
    monkeypatch.setattr("trainer.commands.recipes.listed_fields", lambda config: int("x"))
    assert exit_code(lambda: main(["recipes", "demo"])) == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert "invalid literal for int()" in said
