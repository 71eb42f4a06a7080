"""A rehearsal of one fault, from the command line to its verdict, on a Ray of three nodes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch import TINY

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_killed_worker_changes_nothing_of_what_was_trained(tiny_set: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [*TINY, f"data.url={tiny_set}", "--faults=kill-worker", "--rounds=1", f"--out={out}"]
    command = [sys.executable, "-m", "cluster", "rehearse", "demo", *words]
    here = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(command, env=here, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((out / "rehearsal.json").read_text())
    assert found["complaints"] == []
    figures = found["figures"]
    assert (figures["faults"], figures["lost"], figures["duplicated"]) == (1, 0, 0)
    assert 0 < figures["goodput"] < 1
    (fault,) = found["faults"]
    assert ": its process was killed" in fault["told"]
    assert fault["recovered_s"] == figures["recovery_worst_s"] > 0
