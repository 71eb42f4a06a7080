"""Hangs of a run on an embedded Ray: a process that is stopped, and a loop that is blocked while others answer."""

import os
import re
import signal
from pathlib import Path

import pytest

from data_shards.storage.place import open_store
from tests.integration.test_cluster import Job
from tests.launch import losses, start
from trainer.checkpoints.checkpoint import newest

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(1500)]
# In a worker: rank 1 is blocked in the middle of a step once, when a file appears.
BLOCKED = """
import os, pathlib, threading, time

def blocked_here():
    time.sleep(600)

def hook():
    from trainer.engine import Engine
    update = Engine.update

    def held(self, lr, last):
        block = pathlib.Path(os.environ["BLOCK"])
        if self.group.rank == 1 and block.exists():
            block.unlink()
            blocked_here()
        return update(self, lr, last)

    Engine.update = held

if "BLOCK" in os.environ:
    import importlib.abc, importlib.machinery, sys

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name != "trainer.loop":
                return None
            sys.meta_path.remove(self)
            hook()
            return None

    sys.meta_path.insert(0, Finder())
"""


@pytest.fixture(scope="module")
def words(tiny_set: str) -> list[str]:
    return [f"data.url={tiny_set}", "steps=60", "checkpoint.steps=10", "optim.lr=1e-4"]


@pytest.fixture(scope="module")
def alone(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """Losses of one process that nobody disturbed."""
    run = tmp_path_factory.mktemp("alone") / "run"
    start(run, 1, words).wait()
    return losses(run)


def test_a_stopped_process_is_noticed_and_the_run_goes_on(
    alone: dict[int, float], words: list[str], tmp_path: Path
) -> None:
    with Job(tmp_path / "run", [*words, "scaling.num_workers=2"]) as job:
        job.wait_for_step(13)
        stopped = job.ranks()[1]
        os.kill(stopped, signal.SIGSTOP)
        assert job.wait(600) == 0, job.said()
    (noticed,) = [line for line in job.said().splitlines() if "does not come forward" in line]
    found = re.search(r"rank (\d) on \S+, process (\d+) stopped answering (\d+) s ago, in step", noticed)
    assert found is not None, noticed
    assert int(found[2]) == stopped
    (told,) = [line for line in job.said().splitlines() if "worker lost" in line]
    assert f"(rank {found[1]} on" in told
    assert told.count("rank ") == 1
    _, stacks = job.said().split("the stacks of 1 workers are in ")
    assert "TrainingThread" in Path(stacks.splitlines()[0]).read_text()
    assert losses(job.run) == pytest.approx(alone, rel=1e-5)
    _stalled_but_not_productive(job.run)


def test_a_blocked_loop_is_noticed_while_its_process_answers(
    alone: dict[int, float], words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    block = tmp_path / "block"
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with Job(tmp_path / "run", [*words, "scaling.num_workers=2"], PYTHONPATH=path, BLOCK=str(block)) as job:
        job.wait_for_step(13)
        block.touch()
        assert job.wait(600) == 0, job.said()
    (noticed,) = [line for line in job.said().splitlines() if "does not come forward" in line]
    assert re.search(r"rank 1 on \S+, process \d+ stuck for \d+ s in step \d+ \(optimiser\) at", noticed), (
        noticed
    )
    assert "blocked_here" in noticed
    assert "the stacks of 2 workers are in " in job.said()
    (told,) = [line for line in job.said().splitlines() if "worker lost" in line]
    assert "(rank 1 on" in told
    assert told.count("rank ") == 1
    assert losses(job.run) == pytest.approx(alone, rel=1e-5)


def _stalled_but_not_productive(run: Path) -> None:
    """What a hang took is in the clock of the run that its last checkpoint keeps."""
    saved = newest(open_store(str(run)))
    assert saved is not None
    assert 9.0 < saved.progress["seconds"]["stalled"] < 60.0
