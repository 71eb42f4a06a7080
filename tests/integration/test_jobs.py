"""Runs as jobs of a Ray that was started for them, as a user submits, watches and stops them."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from cluster.rehearsal.nodes import LocalRay
from data_shards.storage.place import open_store
from tests.launch import TINY, lines
from trainer.checkpoints.checkpoint import newest

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
SECRET = token_hex(16)  # not in the source, which is shipped
SAVE_S = 6  # longer than the 3 s after which Ray alone kills a job that is stopped

SLOW_SAVE = f"""


_put = FolderStore.put


def _slow_put(self, name, source, if_absent=False):
    import time

    if name.endswith("weights.pt"):
        time.sleep({SAVE_S})
    _put(self, name, source, if_absent)


FolderStore.put = _slow_put
"""


@pytest.fixture(scope="module")
def head() -> Iterator[LocalRay]:
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets need a short name
    started = LocalRay(folder)
    try:
        started.wait()
        yield started
    finally:
        started.close()
        left = [process.cmdline() for process in started.processes()]
        shutil.rmtree(folder, ignore_errors=True)
        assert left == []


def command(head: LocalRay, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m cluster WORDS` beside the head, by a user with a secret in the environment."""
    env = head.environment | {"RAY_API_SERVER_ADDRESS": head.address, "MY_TOKEN": SECRET}
    return subprocess.run(
        [sys.executable, "-m", "cluster", *words],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )


def answer(head: LocalRay, path: str) -> str:
    asked = urllib.request.Request(f"{head.address}{path}", headers={"Authorization": f"Bearer {head.token}"})
    with urllib.request.urlopen(asked, timeout=30) as found:
        return str(found.read(), "utf-8", "replace")


def words(tiny_set: str, run: Path, *more: str) -> list[str]:
    return ["demo", *TINY, f"data.url={tiny_set}", f"output={run}", "scaling.num_workers=2", *more]


def name_in(said: str) -> str:
    (job,) = {line.split()[1].rstrip(":") for line in said.splitlines() if line.startswith("job ")}
    return job


def test_a_run_is_followed_to_its_end(head: LocalRay, tiny_set: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = command(head, "submit", *words(tiny_set, run, "steps=6"))
    assert done.returncode == 0, done.stdout + done.stderr
    job = name_in(done.stderr)
    assert f"{head.address}/#/jobs/{job}" in done.stderr
    assert f"{run}/report.html" in done.stderr
    assert re.search(r"^preflight: 1 nodes, .* nothing is in the way$", done.stdout, re.MULTILINE)
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert told[-1]["step"] == 6
    assert [line["step"] for line in lines(run)] == list(range(1, 7))
    describe = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    revision = subprocess.run(describe, capture_output=True, text=True).stdout.strip()
    if revision:  # of a copy without .git there is none to hand over
        assert json.loads((run / "config.json").read_text())["revision"] == revision
    status = command(head, "status", job)
    assert status.returncode == 0
    assert {"succeeded", str(run), revision or "demo"} <= set(status.stdout.split())
    assert command(head, "logs", job, "--follow").stdout == done.stdout
    refused = command(head, "submit", *words(tiny_set, run), "--env", f"MY_TOKEN={SECRET}")
    assert refused.returncode == 2
    assert SECRET not in refused.stderr
    for path in ("/api/jobs/", f"/api/jobs/{job}", f"/api/jobs/{job}/logs", "/api/v0/actors?detail=true"):
        assert SECRET not in answer(head, path)
    logs = [path for path in head.folder.rglob("*.*") if path.suffix in (".log", ".out", ".err", ".json")]
    assert len(logs) > 10
    assert [path for path in logs if SECRET in path.read_text(errors="replace")] == []


def test_stop_waits_for_the_last_checkpoint(head: LocalRay, tiny_set: str, tmp_path: Path) -> None:
    for name in ("cluster", "data_shards", "model", "monitoring", "trainer"):
        shutil.copytree(ROOT / name, tmp_path / "tree" / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "tree" / "data_shards" / "storage" / "folder.py").open("a") as module:
        module.write(SLOW_SAVE)
    run = tmp_path / "run"
    endless = words(tiny_set, run, "steps=1000000", "checkpoint.steps=1000000")
    started = command(head, "submit", *endless, "--working-dir", str(tmp_path / "tree"), "--no-wait")
    assert started.returncode == 0, started.stderr
    job = started.stdout.strip()
    deadline = time.monotonic() + 180
    while not lines(run):
        assert time.monotonic() < deadline, command(head, "logs", job).stdout
        time.sleep(0.2)
    stopped = command(head, "stop", job)
    assert stopped.returncode == 0, stopped.stderr
    assert f"job {job}: saved and ended" in stopped.stderr
    saved = newest(open_store(str(run)))
    assert saved is not None
    assert saved.step == max(line["step"] for line in lines(run))
    assert command(head, "status", job).returncode == 130
    assert command(head, "stop", job).returncode == 0


def test_a_mistake_ends_a_job_before_any_worker_starts(head: LocalRay, tmp_path: Path) -> None:
    begun = time.monotonic()
    done = command(head, "submit", *words("/nowhere/set", tmp_path / "run"))
    assert time.monotonic() - begun < 120  # of which most is Python's imports
    assert done.returncode == 2, done.stdout + done.stderr
    (sentence,) = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert re.match(r"error: driver \S+: field data\.url: /nowhere/set: no data set here", sentence)
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "run").exists()
    assert command(head, "status", name_in(done.stderr)).returncode == 2


def test_what_ray_job_submit_runs_works_as_it_stands(head: LocalRay, tiny_set: str, tmp_path: Path) -> None:
    ray = [
        str(Path(sys.executable).parent / "ray"),
        "job",
        "submit",
        "--address",
        head.address,
        "--working-dir",
        ".",
    ]
    train = ["python", "-m", "cluster", "train", *words(tiny_set, tmp_path / "run", "steps=3")]
    # Only what is shipped is Ray's choice here: all that git does not ignore.
    done = subprocess.run(
        [*ray, "--", *train],
        cwd=ROOT,
        env=os.environ | head.environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line["step"] for line in lines(tmp_path / "run")] == [1, 2, 3]
