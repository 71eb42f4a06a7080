"""The table of faults, and the page that tells of it."""

import re
from pathlib import Path

from cluster.rehearsal.faults import FAULTS

PAGE = Path(__file__).parents[3] / "docs" / "rehearsal.md"


def test_the_page_has_every_fault_and_no_other() -> None:
    told = re.findall(r"^\| `([\w-]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(told) == sorted(FAULTS)


def test_a_fault_ends_drivers_or_workers_or_is_told() -> None:
    for name, fault in FAULTS.items():
        assert re.compile(fault.told), name
        assert fault.lasts[0] <= fault.lasts[1]
        assert not (fault.ends and fault.loses), f"{name}: a driver that ends takes its workers with it"
