"""`commonfate`: the commands of all packages under one name, none of another's packages, words that bash completes."""

import os
import shlex
import subprocess
import sys
from argparse import PARSER, SUPPRESS
from pathlib import Path

import pytest

import cluster.__main__
import data_shards.__main__
import trainer.__main__
from cluster import console
from cluster.completion import _parsers, bash_script
from cluster.console import HOME, commands
from trainer.recipes import RECIPES

START = [sys.executable, "-c", "from cluster.console import main; main()"]


def commonfate(*words: str, path: str = str(HOME)) -> subprocess.CompletedProcess[str]:
    """Run it as the console script would, from a folder that is not ours."""
    env = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    return subprocess.run([*START, *words], env=env, cwd="/", capture_output=True, text=True, timeout=120)


def test_every_command_of_every_package_is_there() -> None:
    done = commonfate("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name, command in commands().items():
        assert f"\n  {name} " in done.stdout
        assert f" {command.purpose}\n" in done.stdout
    assert commands().items() >= trainer.__main__.COMMANDS.items()
    assert {f"cluster {name}" for name in cluster.__main__.COMMANDS} <= commands().keys()
    assert {f"data {name}" for name in data_shards.__main__.COMMANDS} <= commands().keys()


def test_exit_codes_are_those_of_the_packages() -> None:
    done = commonfate("cluster", "train", "dem")
    assert done.returncode == 2
    assert (
        done.stderr
        == f"error: recipe 'dem' does not exist (did you mean demo?); have: {', '.join(RECIPES)}\n"
    )
    done = commonfate("recipes", "--help")
    assert (done.returncode, done.stdout.splitlines()[0][:26]) == (0, "usage: commonfate recipes ")


@pytest.mark.parametrize("name", ["model", "trainer"])
def test_a_foreign_package_of_the_same_name_is_noticed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError('loaded')")
    done = commonfate("--help", path=f"{tmp_path}:{HOME}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: the package {name} that Python finds is {tmp_path / name}, not commonfate's {HOME / name}; give "
        "commonfate a virtual environment of its own\n"
    )


def test_a_missing_package_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PACKAGES", ("data_shards", "no_such_package"))
    assert "package no_such_package that Python finds is nowhere, not commonfate's" in str(console.stranger())


@pytest.mark.parametrize("name", commands())
def test_every_option_says_what_it_means_and_its_default(name: str) -> None:
    command = commands()[name]
    parser = command.parser(f"commonfate {name}")
    assert parser.format_help().split("\n\n")[1].replace("\n", " ") == command.purpose
    for action in (action for part in _parsers(name, parser).values() for action in part._actions):
        if action.help == SUPPRESS or action.dest == "help" or action.nargs == PARSER:
            continue
        assert len(action.help or "") > 10, f"{action.dest}: {action.help}"
        if action.option_strings and not action.required:
            assert "default" in str(action.help), f"{action.dest} does not say its default"


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `commonfate completion bash` prints."""
    file = tmp_path_factory.mktemp("shell") / "completion.bash"
    file.write_text(bash_script(commands()))
    return file


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {"train", "evaluate", "bench", "cluster", "completion"}),
        ("ev", {"evaluate"}),
        ("bench ", {"unroll", "loader", "step", "video"}),
        ("cluster t", {"train", "tune"}),
        ("evaluate --sp", {"--split"}),
        ("train --", {"--config", "--help"}),
        ("train de", {"demo"}),
        ("cluster train camvid", {"camvid-segnet", "camvid-segnet-flow"}),
        ("train demo optim.l", {"optim.lr="}),
        ("train demo optim.lr = 3 model.sl", {"model.slots="}),
        ("train camvid-segnet model.sl", set()),
        ("train demo scaling.n", set()),
        ("cluster train demo scaling.n", {"scaling.num_workers="}),
        ("bench step co", {"conv-lstm"}),
        ("bench step conv-lstm --r", {"--rounds"}),
        ("bench step --b", set()),
        ("completion ", {"bash", "zsh"}),
        ("data ", {"build", "check", "show"}),
        ("data build sp", {"sprites"}),
        ("data build sprites --shard", {"--shard-bytes"}),
        ("data build video --inp", {"--input"}),
        ("data check --inp", set()),
    ],
)
def test_bash_completes(line: str, expected: set[str], script: Path) -> None:
    *before, current = ["commonfate", *line.split(" ")]
    words = shlex.join([*before, current])
    code = (
        f"source {script}; COMP_WORDS=({words}); COMP_CWORD={len(before)}; _commonfate; "
        'complete -p commonfate; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-uc", code], capture_output=True, text=True, timeout=30)
    registered, *found = done.stdout.splitlines()
    assert registered == "complete -o default -F _commonfate commonfate"
    assert "compopt: not currently executing completion function" in done.stderr or not done.stderr, (
        done.stderr
    )
    assert expected <= set(found) if line in ("", "train --") else expected == set(filter(None, found))
