"""The table of faults, what they do to a process and undo again, and the page that tells of them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import __main__
from cluster.rehearsal import freeze
from cluster.rehearsal.faults import FAULTS
from cluster.rehearsal.processes import wait_until
from cluster.rehearsal.schedule import Blow
from data_shards.exits import exit_code

PAGE = Path(__file__).parents[3] / "docs" / "rehearsal.md"
BLOW = Blow(1, "", 3, 0, 0.0, 0.5)


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_the_page_has_every_fault_and_no_other() -> None:
    told = re.findall(r"^\| `([\w-]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(told) == sorted(FAULTS)


def test_a_fault_ends_drivers_or_workers_or_is_told() -> None:
    for name, fault in FAULTS.items():
        assert re.compile(fault.told), name
        assert fault.lasts[0] <= fault.lasts[1]
        assert not (fault.ends and fault.loses), f"{name}: a driver that ends takes its workers with it"


def test_a_worker_is_stopped_and_goes_on_or_is_gone(worker: subprocess.Popen[bytes]) -> None:
    scene: Any = SimpleNamespace(ranks=lambda: [worker.pid])
    undo = FAULTS["stop-worker"].inject(scene, BLOW)
    wait_until(lambda: state(worker.pid) == "T", [], 10, 0.01)
    undo()
    wait_until(lambda: state(worker.pid) in "RS", [], 10, 0.01)
    worker.kill()
    worker.wait()
    undo()


def test_a_fault_that_this_system_forbids_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scope").write_text("3\n")
    monkeypatch.setattr(freeze, "_YAMA", tmp_path / "scope")
    words = ["rehearse", "demo", "data.url=/nowhere", f"--out={tmp_path / 'out'}", "--faults=block-thread"]
    assert exit_code(lambda: __main__.main(words)) == 2
    assert capsys.readouterr().err.startswith("error: --faults: block-thread is not possible here: ")
