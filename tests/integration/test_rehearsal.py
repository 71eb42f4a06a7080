"""Rehearsals of single faults, from the command line to their verdict, on a Ray of three nodes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.rehearsal.hosts import forbidden
from tests.ceph import Ceph
from tests.launch import TINY

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(900)]


def rehearsed(data: str, out: Path, *words: str, **environment: str) -> dict[str, Any]:
    """What a rehearsal found, in which nothing was wrong."""
    command = [sys.executable, "-m", "cluster", "rehearse", "demo", *TINY, f"data.url={data}", f"--out={out}"]
    here = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [*command, *words], env=here | environment, capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((out / "rehearsal.json").read_text())
    assert found["complaints"] == []
    figures = found["figures"]
    assert (figures["lost"], figures["duplicated"]) == (0, 0)
    assert 0 < figures["goodput"] < 1
    return found


def test_a_killed_worker_changes_nothing_of_what_was_trained(tiny_set: str, tmp_path: Path) -> None:
    found = rehearsed(tiny_set, tmp_path / "out", "--faults=kill-worker", "--rounds=1")
    (fault,) = found["faults"]
    assert ": its process was killed" in fault["told"]
    assert fault["recovered_s"] == found["figures"]["recovery_worst_s"] > 0


def test_a_store_that_is_down_and_a_host_that_is_cut_off_change_nothing(
    s3: Ceph, tiny_set: str, tmp_path: Path
) -> None:
    words = ["--faults=store-down,cut-node", "--hosts"] if not forbidden() else ["--faults=store-down"]
    rounds = f"--rounds={words[0].count(',') + 1}"
    found = rehearsed(
        tiny_set, tmp_path / "out", *words, rounds, f"--store={s3.bucket()}/rehearsal", **s3.environment
    )
    told = {fault["blow"]["kind"]: fault["told"] for fault in found["faults"]}
    assert told["store-down"] == ""
    assert "cut-node" not in told or "stopped answering" in told["cut-node"]
