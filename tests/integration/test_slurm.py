"""The rendered script, as a job of a real Slurm that starts a Ray of its own and trains on it."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from cluster import __main__
from data_shards.storage.place import open_store
from tests.conftest import require
from tests.launch import TINY, lines
from tests.slurm import BINARIES, Slurm
from trainer.checkpoints.checkpoint import newest

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(1800)]
_TRIES = 4


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    require(*BINARIES)
    server = Slurm(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


class Jobs:
    """Jobs of one script."""

    def __init__(self, slurm: Slurm, script: Path, folder: Path) -> None:
        self.slurm, self.script, self.numbers = slurm, script, list[str]()
        # One machine is all there is here: its Ray stays on loopback, where the script asks for the machine's address.
        (folder / "hostname").write_text("#!/bin/sh\necho 127.0.0.1\n")
        (folder / "hostname").chmod(0o755)
        self.environment = {
            "PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray replaces 127.0.0.1, and listens everywhere
            "RAY_agent_register_timeout_ms": "300000",  # a machine that is busy with other tests is late
        }

    def start(self, done: Callable[[], bool]) -> str:
        """Submit, until `done` or over; again where Ray ended, for its agents must be there in 15 s."""
        for _ in range(_TRIES):
            self.numbers.append(self.slurm.submit(self.script, self.environment))
            self.until(lambda: done() or self.over(self.numbers[-1]))
            if "error: Ray did not start" not in self.said(self.numbers[-1]):
                break
        return self.numbers[-1]

    def over(self, job: str) -> bool:
        return self.slurm.fact(job, "JobState") not in ("PENDING", "RUNNING", "COMPLETING")

    def said(self, job: str) -> str:
        log = self.script.with_name(f"one-{job}.log")
        return log.read_text() if log.exists() else ""

    def until(self, done: Callable[[], bool], seconds: float = 400) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, self.said(self.numbers[-1])
            time.sleep(0.3)


def test_a_job_saves_when_its_time_is_nearly_up_and_the_next_goes_on(
    slurm: Slurm, tiny_set: str, tmp_path: Path
) -> None:
    run, script = tmp_path / "run", tmp_path / "files" / "slurm.sh"
    words = ["demo", *TINY, f"data.url={tiny_set}", f"output={run}", "checkpoint.steps=100000"]
    rendered = ["render", *words, "steps=100000", "--name", "one", "--out", str(script.parent)]
    assert __main__.main(rendered) == 0
    # A dashboard is nine more processes, of which nothing is asked here.
    script.write_text(script.read_text().replace("--dashboard-host=127.0.0.1", "--include-dashboard=false"))
    jobs = Jobs(slurm, script, tmp_path)

    first = jobs.start(lambda: len(lines(run)) >= 3)
    slurm.told("scancel", "--batch", "--signal=TERM", first)  # as --signal=B:TERM@ does
    jobs.until(lambda: jobs.over(first))
    assert slurm.fact(first, "ExitCode") == "130:0", jobs.said(first)
    saved = newest(open_store(str(run)))
    assert saved is not None, jobs.said(first)
    assert saved.step == lines(run)[-1]["step"] >= 3

    script.write_text(script.read_text().replace("steps=100000 ", f"steps={saved.step + 3} "))
    second = jobs.start(lambda: False)
    assert slurm.fact(second, "JobState") == "COMPLETED", jobs.said(second)
    assert [line["step"] for line in lines(run)] == list(range(1, saved.step + 4))
    jobs.until(lambda: not rays(tmp_path, jobs.numbers), 20)
    assert [job for job in jobs.numbers if Path(f"/tmp/one-{job}").exists()] == []


def rays(folder: Path, jobs: Sequence[str]) -> list[list[str]]:
    """Command lines of what the jobs have started and not ended."""
    marks = [str(folder / "run"), *(f"/tmp/one-{job}" for job in jobs)]
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if any(mark in word for word in command for mark in marks):
            found.append(command)
    return found
