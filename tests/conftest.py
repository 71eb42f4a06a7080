"""Fixtures for every test: seeds, strict torch modes, where the real data and services are."""

import os
import shutil
from pathlib import Path

import pytest
import torch


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
