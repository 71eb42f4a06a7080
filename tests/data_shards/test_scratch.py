"""Folders on the local disk: each has a name of its own, and those of dead processes of this machine go."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from data_shards import scratch
from data_shards.scratch import scratch_folder, scratch_path, sweep


def renamed(process: int, started: str) -> Path:
    """A folder of another process, with a file in it."""
    path = scratch_path("save")
    mine = f"-{os.getpid()}-{scratch._started(os.getpid())}-"
    assert mine in path.name
    path = path.with_name(path.name.replace(mine, f"-{process}-{started}-"))
    (path / "state").mkdir(parents=True)
    return path


def left_by_a_dead_process(purpose: str) -> Path:
    """A folder with a state, as a kill leaves it: of this process's number, which has come again."""
    path = renamed(os.getpid(), "1")
    return path.rename(path.with_name(path.name.replace("-save-", f"-{purpose}-")))


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_goes_with_its_context_and_is_nobody_elses(local: Path) -> None:
    with scratch_folder("save") as first, scratch_folder("save") as second:
        assert first != second
        assert sorted(local.iterdir()) == sorted([first, second])
        assert first.stat().st_mode & 0o777 == 0o700
    assert not list(local.iterdir())


def test_folders_of_dead_processes_go_and_no_others(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(30)
    parent = os.getppid()
    dead = [renamed(process.pid, "1"), renamed(parent, "1"), left_by_a_dead_process("ray")]
    alive = [renamed(parent, scratch._started(parent)), scratch_path("read")]
    alive[-1].mkdir()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        alive.append(renamed(process.pid, "1"))
    alive += [local / "commonfate-ext-1000", local / f"{dead[0].name}.txt"]
    for path in alive[-2:]:
        path.mkdir()
    sweep()
    assert sorted(local.iterdir()) == sorted(alive)
    assert not any(path.exists() for path in dead)


def test_a_process_that_is_dead_and_not_yet_waited_for_is_dead(local: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    path = renamed(process.pid, scratch._started(process.pid))
    sweep()
    assert path.exists()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    sweep()
    assert not path.exists()
    process.wait(10)
