"""Fixtures for every test: seeds, strict torch modes, where the real data and services are."""

import tests.typechecker  # isort: skip  (before any of our packages: pyproject names it as their checker)  # noqa: F401

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from data_shards.sources.sprites import Sprites
from data_shards.writer import build
from tests.ceph import BINARIES, Ceph

# Whoever starts the tests in the background makes them ignore Ctrl-C, and processes that they start inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    """Every test starts from the same random state, on one thread."""
    torch.manual_seed(0)
    torch.set_num_threads(1)


def require(*binaries: str) -> None:
    """Skip the test where a service's binary is missing; fail instead where CI promised to install it."""
    missing = [b for b in binaries if shutil.which(b) is None]
    if missing and os.environ.get("COMMONFATE_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{', '.join(missing)} not installed, and COMMONFATE_REQUIRE_SERVICES=1 forbids skipping")
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real videos (COMMONFATE_DATA, or ../shared/data); skips where there is none."""
    root = Path(os.environ.get("COMMONFATE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no real data at {root} (set COMMONFATE_DATA)")
    return root


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a set of small sprite clips: 64 to train on, 16 each to validate and test."""
    url = str(tmp_path_factory.mktemp("tiny") / "set")
    build("sprites", Sprites(size=16, frames=4, objects=2), url, {"train": 64, "val": 16, "test": 16}, seed=0)
    return url


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """A real S3 server for the session; the AWS_* variables lead to it. `s3.bucket()` makes an empty bucket."""
    require(*BINARIES)
    server = Ceph(tmp_path_factory.mktemp("ceph"))
    before = {name: os.environ.get(name) for name in server.environment}
    try:
        server.start()
        os.environ.update(server.environment)
        yield server
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
