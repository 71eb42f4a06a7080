"""The main job, through an embedded Ray, as a user starts it: the same curve as one process, whatever happens."""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster.rehearsal.processes import Program, alive, command_line, descendants, wait_until
from data_shards.storage.place import open_store
from tests.launch import TINY, lines, losses, reached, start
from trainer.checkpoints.checkpoint import newest

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(600)]
STEPS = 80  # enough that a worker can be killed long before the end


class Job(Program):
    """One `python -m cluster train`. A context manager: nothing of it is left behind."""

    def __init__(self, run: Path, words: Sequence[str], **variables: str) -> None:
        self.run = run
        run.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "cluster", "train", "demo", *TINY, f"output={run}", *words]
        given = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        given |= {"TORCH_EXTENSIONS_DIR": str(run.parent / "extensions"), "CUDA_VISIBLE_DEVICES": ""}
        super().__init__(command, run.parent / f"{run.name}.log", given | variables)

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_family(15)  # Ray's processes end by themselves when their driver is gone

    def wait(self, timeout: float = 240) -> int:
        """The exit code."""
        return self.process.wait(timeout)

    def wait_for_step(self, step: int, timeout: float = 180) -> None:
        """Until metrics.jsonl has a line of `step` or later."""
        wait_until(lambda: reached(self.run, step), [self], timeout, 0.05)


@pytest.fixture(scope="module")
def words(tiny_set: str) -> list[str]:
    # A small rate: sums taken in another order differ in the last bit, and training amplifies that.
    return [f"data.url={tiny_set}", f"steps={STEPS}", "checkpoint.steps=10", "optim.lr=1e-4"]


@pytest.fixture(scope="module")
def alone(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """Losses of `python -m trainer train` in one process."""
    run = tmp_path_factory.mktemp("alone") / "run"
    start(run, 1, words).wait()
    return losses(run)


@pytest.fixture(scope="module")
def pair(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """Losses of two workers on Ray that nobody disturbed."""
    with Job(tmp_path_factory.mktemp("pair") / "run", [*words, "scaling.num_workers=2"]) as job:
        assert job.wait() == 0, job.said()
    assert "worker lost" not in job.said()
    return losses(job.run)


def test_two_workers_draw_the_curve_of_one_process(alone: dict[int, float], pair: dict[int, float]) -> None:
    assert list(pair) == list(range(1, STEPS + 1))
    assert pair == pytest.approx(alone, rel=1e-5)


def test_a_killed_worker_costs_time_and_nothing_else(
    pair: dict[int, float], words: list[str], tmp_path: Path
) -> None:
    with Job(tmp_path / "run", [*words, "scaling.num_workers=2"]) as job:
        job.wait_for_step(13)
        killed = job.ranks()[0]
        os.kill(killed, signal.SIGKILL)
        assert job.wait() == 0, job.said()
    (told,) = [line for line in job.said().splitlines() if "worker lost" in line]
    # The other rank, which has noticed, is not named.
    host = re.escape(socket.gethostname())
    assert re.search(rf"\(rank \d on {host}, process {killed}: its process was killed\);", told)
    assert told.endswith("; starting again from the newest checkpoint (1 of 3)")
    assert "(raylet)" not in job.said()
    assert "Traceback" not in job.said()
    assert losses(job.run) == pair  # to the bit
    assert [line["step"] for line in lines(job.run)] == list(range(1, STEPS + 1))


def test_ctrl_c_saves_and_another_start_goes_on(words: list[str], tmp_path: Path) -> None:
    # More steps than any machine does within the second that a stop takes to arrive, at a rate they do not change.
    words = [*words, "batch.size=16", "checkpoint.steps=1000", "optim.decay=constant"]
    with Job(tmp_path / "run", [*words, "steps=1000"]) as job:
        job.wait_for_step(3)
        job.process.send_signal(signal.SIGINT)
        job.process.send_signal(signal.SIGINT)  # as `make` and `timeout` do: one key, two signals
        assert job.wait() == 130, job.said()
    assert "stopped: the run is saved" in job.said()
    saved = newest(open_store(str(job.run)))
    assert saved is not None
    assert saved.step == max(losses(job.run))  # nothing that was done is lost
    assert 3 <= saved.step < 1000
    # A few steps beyond the seam; later ones amplify last bits, which depend on where memory was allocated.
    words.append(f"steps={saved.step + 5}")
    with Job(tmp_path / "run", words) as again:
        assert again.wait() == 0, again.said()
    start(tmp_path / "alone", 1, words).wait()
    assert list(losses(again.run)) == list(range(1, saved.step + 6))
    assert losses(again.run) == pytest.approx(losses(tmp_path / "alone"), rel=1e-5)


@pytest.mark.parametrize("started", ["gcs_server", "DashboardAgent", "TrainController"])
def test_sigterm_while_ray_starts_leaves_nothing_behind(
    words: list[str], tmp_path: Path, started: str
) -> None:
    with Job(tmp_path / "run", words) as job:
        deadline = time.monotonic() + 120
        family: list[int] = []
        while not any(started in command_line(pid) for pid in family):
            family = descendants(job.process.pid)
            assert job.process.poll() is None, job.said()
            assert time.monotonic() < deadline, job.said()
            time.sleep(0.05)
        job.process.terminate()
        assert job.wait() == 130, job.said()
        assert "interrupted" in job.said()
        deadline = time.monotonic() + 30
        while left := [command_line(pid) for pid in family if alive(pid)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        # The driver finds this one, a worker the next.
        (["data.url=/nowhere/set"], "error: field data.url: /nowhere/set: no data set here"),
        (
            ["evaluation.steps=1", "evaluation.split=none"],
            "error: field evaluation.split: got none",
        ),
        (
            ["scaling.use_gpu=true", "ray.start_timeout_s=15"],
            "error: field scaling.num_workers: no room for 1",
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_2(
    words: list[str], tmp_path: Path, mistake: list[str], sentence: str
) -> None:
    with Job(tmp_path / "run", [*words, *mistake]) as job:
        assert job.wait() == 2, job.said()
    told = [line for line in job.said().splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert told[0].startswith(sentence)
    assert "Traceback" not in job.said()


def test_a_loss_that_is_not_finite_is_not_tried_again(words: list[str], tmp_path: Path) -> None:
    with Job(tmp_path / "run", [*words, "optim.lr=1e30", "scaling.num_workers=2"]) as job:
        assert job.wait() == 1, job.said()
    assert "error: loss is nan at step" in job.said()
    assert "worker lost" not in job.said()
    assert "Traceback" not in job.said()
