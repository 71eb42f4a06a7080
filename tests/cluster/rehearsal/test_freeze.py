"""One thread of a process is stopped from outside, and its others go on."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.rehearsal import freeze as module
from cluster.rehearsal.freeze import forbidden, freeze
from data_shards.exits import Refused

# The one thread works with pauses, as one does that trains; the other notes that it lives.
PROGRAM = """
import sys, threading, time
from pathlib import Path

def note(name, work):
    for count in range(10**9):
        Path(sys.argv[1], name).write_text(str(count))
        sum(range(work))
        time.sleep(0.01)

threading.Thread(target=note, args=("other", 0), daemon=True).start()
note("busy", 10**5)
"""


def count(path: Path) -> int:
    return int(path.read_text() or 0) if path.exists() else 0


def moves(path: Path) -> bool:
    """Whether it is written to within some seconds."""
    before, end = count(path), time.monotonic() + 5
    while count(path) <= before:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.skipif(bool(forbidden()), reason="needs ptrace")
def test_the_busy_thread_stops_and_the_other_goes_on_until_it_is_let_go(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)])
    try:
        while not (tmp_path / "busy").exists() or not (tmp_path / "other").exists():
            time.sleep(0.05)
        release = freeze(process.pid)
        time.sleep(0.2)  # what it had begun to write is there
        assert moves(tmp_path / "other")
        assert not moves(tmp_path / "busy")
        release()
        assert moves(tmp_path / "busy")
        release = freeze(process.pid)
        process.kill()
        assert process.wait(timeout=20) == -9  # a thread that is stopped keeps nobody from ending its process
        release()
    finally:
        process.kill()
        process.wait()


def test_no_such_process_is_said() -> None:
    with pytest.raises(Refused, match="no thread of process 4194304 can be stopped here: No such process"):
        freeze(4194304)


def test_a_system_that_forbids_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = tmp_path / "ptrace_scope"
    monkeypatch.setattr(module, "_YAMA", scope)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert forbidden() == ""
    scope.write_text("1\n")
    assert forbidden() == f"{scope} is 1, by which no process stops a thread of another"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert forbidden() == ""
    scope.write_text("3\n")
    assert forbidden()
