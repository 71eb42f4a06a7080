"""What tests share that train in this process."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clips import build_numbered
from tests.launch import TINY
from trainer import loop
from trainer.engine import start_processes
from trainer.overrides import resolve
from trainer.process_group import ProcessGroup


@pytest.fixture(scope="module")
def alone() -> Iterator[ProcessGroup]:
    """A group of this process alone; what it sets in the environment must not reach processes of other tests."""
    before = dict(os.environ)
    yield start_processes()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Clips as the model of TINY takes them; a train split alone."""
    url = str(tmp_path_factory.mktemp("clips") / "set")
    build_numbered(url, 8, size=16, channels=3)
    return url


@pytest.fixture(scope="module")
def trained(alone: ProcessGroup, data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with a checkpoint after each; who changes it copies it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    words = ["checkpoint.steps=1", "steps=2", f"data.url={data}", f"output={folder}"]
    loop.train(resolve("demo", [*TINY, *words]))
    return folder
