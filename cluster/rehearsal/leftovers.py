"""Leftovers: what a rehearsal finds of its runs when they should be gone: processes, ports, folders, memory, locks."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cluster.rehearsal.nodes import LocalRay
from cluster.rehearsal.processes import command_line

_SHARED = Path("/dev/shm")


def shared_memory() -> set[str]:
    """Names of what lies in shared memory now."""
    return {path.name for path in _SHARED.glob("*")} if _SHARED.exists() else set()


def after_runs(ranks: Sequence[int], scratch: Path) -> list[str]:
    """Sentences about what runs that are over have left, while their Ray is still there."""
    found = [f"process {pid} is left: {command_line(pid)[:100]}" for pid in ranks]
    folders = sorted(path.name for path in scratch.glob("commonfate-*"))
    return found + ([f"folders are left in TMPDIR: {', '.join(folders)}"] if folders else [])


def after_ray(nodes: LocalRay, scratch: Path, before: set[str]) -> list[str]:
    """Sentences about what is left after Ray was closed; `before` is what was in shared memory then."""
    found = [f"process {p.pid} is left: {command_line(p.pid)[:100]}" for p in nodes.processes()]
    found += [f"port {port} is still served" for port in nodes.ports if _served(port)]
    found += [f"{_SHARED / name} is left" for name in sorted(shared_memory() - before) if not _open(name)]
    locks = [path for folder in (scratch, nodes.folder / "extensions") for path in folder.rglob("*lock")]
    return found + [f"{path} is left" for path in locks]


def _served(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _open(name: str) -> bool:
    """Whether a process, of whomever, has it: a name that nobody has is garbage."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            if f"{_SHARED}/{name}" in maps.read_text():
                return True
    return False
