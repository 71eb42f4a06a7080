"""The commands: options from the sources' fields, exit codes, one sentence for a mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pytest

from data_shards import __main__ as commands
from data_shards.clip import Clip
from data_shards.loader import DataConfig, scan
from data_shards.manifest import read_manifest
from data_shards.mistake import UserError
from data_shards.sources import SOURCES
from tests.clips import Numbered

SMALL = ["--train", "12", "--val", "4", "--test", "0"]


def test_build_and_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = str(tmp_path / "set")
    options = ["--size", "16", "--frames", "3", "--objects", "2", "--seed", "3"]
    assert commands.main(["build", "sprites", "--out", url, *options, *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "train: 12 clips of 3 frames 16x16x3 in 1 shards" in printed
    assert f"{url}: complete, 16 clips" in printed
    manifest = read_manifest(url)
    assert (manifest.source, manifest.seed, list(manifest.splits)) == ("sprites", 3, ["train", "val"])
    assert (manifest.parameters["size"], manifest.parameters["objects"]) == (16, 2)
    assert commands.main(["check", url]) == 0
    assert sum(len(batch.keys) for batch in scan(DataConfig(url), "train", 5)) == 12
    capsys.readouterr()
    assert commands.main(["build", "sprites", "--out", url, *SMALL]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {url}: a data set exists here already")


@dataclass(frozen=True)
class Everything(Numbered):
    """One field of each kind that a source may have."""

    input: str = "x"
    fps: float | None = None
    stride: int = 1
    shapes: tuple[str, ...] = ("a", "b")
    sizes: tuple[int, ...] = ()
    mode: Literal["one", "two"] = "one"
    grey: bool = False
    loud: bool = True

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise UserError(f"stride {self.stride} must be at least 1")


def parameters(tmp_path: Path, *options: str) -> dict[str, object]:
    url = str(tmp_path / "set")
    assert commands.main(["build", "everything", "--out", url, *SMALL, *options]) == 0
    return read_manifest(url).parameters


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "everything", Everything)


@pytest.mark.usefixtures("everything")
def test_options_are_the_fields_of_the_source(tmp_path: Path) -> None:
    assert parameters(tmp_path) == json.loads(json.dumps(vars(Everything())))


@pytest.mark.usefixtures("everything")
def test_every_kind_of_option(tmp_path: Path) -> None:
    line = "--input a/b --fps 12.5 --stride 3 --shapes c --sizes 1 2 --mode two --grey --no-loud"
    wanted = {"input": "a/b", "fps": 12.5, "stride": 3, "shapes": ["c"], "sizes": [1, 2], "mode": "two"}
    assert parameters(tmp_path, *line.split(" ")) == vars(Numbered()) | wanted | {"grey": True, "loud": False}


def test_a_split_for_which_the_source_had_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class OnlyTraining(Everything):
        def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
            return super().clips(split, count if split == "train" else 0, seed)

    monkeypatch.setitem(SOURCES, "everything", OnlyTraining)
    assert commands.main(["build", "everything", "--out", str(tmp_path / "set"), *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "val: no clips, of up to 4 asked for" in printed
    assert "test:" not in printed, "none were asked for"


def test_a_split_for_which_the_source_had_fewer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Scarce(Everything):
        def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
            return super().clips(split, min(count, 5), seed)

    monkeypatch.setitem(SOURCES, "everything", Scarce)
    assert commands.main(["build", "everything", "--out", str(tmp_path / "set"), *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "train: 5 clips, of up to 12 asked for: the source had no more for it" in printed
    assert "val: 4 clips, of" not in printed


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_has_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        commands.main(["build", name, "--help"])
    printed = capsys.readouterr().out
    source: Any = SOURCES[name]
    for parameter in fields(source):
        assert f"--{parameter.name.replace('_', '-')}" in printed


@pytest.mark.parametrize("name", SOURCES)
def test_every_option_of_every_source_says_what_it_means(name: str) -> None:
    parser = chosen_parser(name)
    assert parser.description
    meanings = {action.dest: action.help or "" for action in parser._actions if action.dest != "help"}
    assert meanings.keys() > {field.name for field in fields(SOURCES[name])}
    for option, meaning in meanings.items():
        said, _, default = meaning.rpartition("; ") if meaning.endswith(" by default") else (meaning, "", "")
        assert len(said) > 10, f"{option}: {meaning}"
        action = next(action for action in parser._actions if action.dest == option)
        assert action.required or default or "default" in said, f"{option} does not say its default"


def chosen_parser(source: str) -> ArgumentParser:
    parser = commands.COMMANDS["build"].parser("build")
    (sources,) = (action for action in parser._actions if action.dest == "source")
    assert isinstance(sources.choices, dict)
    chosen: ArgumentParser = sources.choices[source]
    return chosen


def test_a_meaning_that_is_missing_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "everything", Everything)
    with pytest.raises(AssertionError, match="size: ; 8 by default"):
        test_every_option_of_every_source_says_what_it_means("everything")


def test_commands_and_sources_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, command in commands.COMMANDS.items():
        assert f"  {name:5}  {command.purpose}\n" in printed
    with pytest.raises(SystemExit, match="0"):
        commands.main(["build", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for name, source in SOURCES.items():
        assert f"{name} {(source.__doc__ or '').splitlines()[0]}" in printed


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["build", "everything", "--out", "OUT", "--stride", "0"], "stride 0 must be at least 1"),
        (["build", "everything", "--out", "OUT", "--train", "-1"], "must be at least 0"),
        (["build", "everything", "--out", "OUT", "--shard-bytes", "0"], "shard_bytes 0 must be at least 1"),
        (
            ["build", "everything", "--out", "OUT", "--train", "0", "--val", "0", "--test", "0"],
            "gave no clips",
        ),
        (
            ["build", "everything", "--out", "gs://x/y"],
            "must be a plain path, file:///path or s3://bucket/prefix",
        ),
        (["check", "OUT"], "no data set here"),
        (["check", "pipe:ls"], "must be a plain path"),
        (["destroy", "OUT"], "command destroy"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert commands.main([str(tmp_path / "out") if a == "OUT" else a for a in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert sentence in line


@pytest.mark.parametrize("arguments", [[], ["build"], ["build", "nonsense"], ["build", "sprites"]])
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = commands.main(arguments)
    except SystemExit as error:
        code = error.code
    assert code == 2
    said = capsys.readouterr().err
    assert "choose from" in said if "nonsense" in arguments else "usage" in said


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_build_leaves_no_set_and_can_be_repeated(
    tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    url = str(tmp_path / "set")
    command = [sys.executable, "-m", "data_shards", "build", "sprites", "--out", url, "--size", "16"]
    options = ["--frames", "3", "--shard-bytes", "50000", "--val", "0", "--test", "0"]
    process = subprocess.Popen([*command, *options, "--train", "100000"], stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 60
        while not list(Path(url).glob("*.tar")) and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(sent)
        errors = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    assert "Traceback" not in errors, errors
    assert process.returncode == code
    assert not os.path.exists(f"{url}/manifest.json")
    assert commands.main([*command[3:], *options, "--train", "100"]) == 0
    assert commands.main(["check", url]) == 0


def test_an_option_that_is_no_field_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        commands.main(["build", "sprites", "--out", "x", "--colour", "red"])
    assert "--colour" in capsys.readouterr().err
