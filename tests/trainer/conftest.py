"""What tests share that train in this process."""

import os
from collections.abc import Iterator

import pytest

from trainer.engine import start_processes
from trainer.process_group import ProcessGroup


@pytest.fixture(scope="module")
def alone() -> Iterator[ProcessGroup]:
    """A group of this process alone; what it sets in the environment must not reach processes of other tests."""
    before = dict(os.environ)
    yield start_processes()
    os.environ.clear()
    os.environ.update(before)
