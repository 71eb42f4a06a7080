"""Loader processes: how many there are, and that none is waited for, or left, when it should not."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from data_shards.clip import Batch
from data_shards.loader import DataConfig, Loader
from tests.clips import build_numbered

BATCH = 8


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """101 clips in some ten shards."""
    url = str(tmp_path_factory.mktemp("set"))
    build_numbered(url, 101, shard_bytes=30_000)
    return url


def test_a_dead_worker_is_an_error_not_a_hang(url: str) -> None:
    with Loader(DataConfig(url, workers=2, start_method="fork"), "train", BATCH, range(BATCH)) as loader:
        batches = iter(loader)
        next(batches)
        victim = multiprocessing.active_children()[0]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match=r"loader process|DataLoader worker"):
            for _ in islice(batches, 100):
                pass


def test_close_ends_the_workers(url: str) -> None:
    loader = Loader(DataConfig(url, workers=2, start_method="fork"), "train", BATCH, range(BATCH))
    next(iter(loader))
    children = multiprocessing.active_children()
    assert len(children) == 2
    loader.close()
    assert not any(child.is_alive() for child in children)
    assert threads_of("reader") == 0


TRAINING = """
import itertools, multiprocessing, sys, time
from data_shards.loader import DataConfig, Loader
if __name__ == "__main__":
    loader = Loader(DataConfig(sys.argv[1], workers=2, start_method=sys.argv[2]), "train", 8, range(8))
    next(iter(loader))
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("start_method", ["fork", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_workers_end_when_training_is_killed(url: str, tmp_path: Path, start_method: str) -> None:
    (tmp_path / "training.py").write_text(TRAINING)
    command = [sys.executable, str(tmp_path / "training.py"), url, start_method]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    training = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert training.stdout is not None
        pids = [int(pid) for pid in training.stdout.readline().split()]
        assert len(pids) == 2
    finally:
        training.kill()
        training.communicate()
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and not zombie(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() and not zombie(pid) for pid in pids)


def zombie(pid: int) -> bool:
    """Dead, and waiting for an init process that the container may lack."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def threads_of(name: str) -> int:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        alive = sum(thread.name == name for thread in threading.enumerate())
        if not alive:
            break
        time.sleep(0.01)
    return alive


def test_workers_beyond_the_slots_are_not_started(url: str) -> None:
    with Loader(DataConfig(url, workers=3, start_method="fork"), "train", BATCH, range(2)) as loader:
        batches: Iterator[Batch] = iter(loader)
        assert len(next(batches).keys) == 2
        assert len(multiprocessing.active_children()) == 2
