"""Processes that are started to be watched and killed: by a rehearsal, and by the tests of what survives a kill."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

WORKER = "RayTrainWorker"  # in the command lines of ranks


class EndedEarly(RuntimeError):
    """A program is over that should run; the message is the end of what it said."""


class Program:
    """A process whose stdout and stderr go to a file.

    Args:
        command: what runs.
        log: the file, which is appended to.
        environment: all of its variables.
        folder: where it starts; None = here.
    """

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str], folder: Path | None = None
    ) -> None:
        self.log = log
        with log.open("ab") as file:
            self.begins = file.tell()
            self.process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=folder)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    @property
    def code(self) -> int | None:
        """What it exited with; None = it runs."""
        return self.process.poll()

    def said(self) -> str:
        """All that it has written, but for what was in the file before."""
        return self.log.read_bytes()[self.begins :].decode(errors="replace")

    def kill(self) -> None:
        """SIGKILL, by process id, where it still runs."""
        if self.code is None:
            self.process.kill()
        self.process.wait()

    def kill_family(self, patience_s: float) -> None:
        """`kill`, and those that it has started once they have had the time to end by themselves."""
        family = descendants(self.pid)
        self.kill()
        end(family, patience_s)

    def ranks(self) -> list[int]:
        """Process ids of the workers of Ray Train below it."""
        return [pid for pid in descendants(self.pid) if WORKER in command_line(pid)]


def wait_until(done: Callable[[], bool], programs: Sequence[Program], limit_s: float, poll_s: float) -> None:
    """Until `done`, while all `programs` run.

    Raises:
        EndedEarly: one of them is over.
        TimeoutError: `limit_s` seconds are.
    """
    deadline = time.monotonic() + limit_s
    while not done():
        over = [program for program in programs if program.code is not None]
        if over:
            raise EndedEarly(f"ended early with {over[0].code}\n{_told(programs)}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit_s:g} s\n{_told(programs)}")
        time.sleep(poll_s)


def lines(journal: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, without a last one that is still being written."""
    found = []
    for text in journal.read_text().splitlines() if journal.exists() else []:
        try:
            found.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return found


def end(pids: Sequence[int], patience_s: float) -> list[int]:
    """SIGKILL those that have not ended by themselves within `patience_s`; returns which they were."""
    deadline = time.monotonic() + patience_s
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.2)
    left = list(filter(alive, pids))
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
    return left


def command_line(pid: int) -> str:
    """What a process was called with, or calls itself; "" = it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Whether a process is more than an entry that its parent has not taken."""
    return _stat(pid)[:1] not in ([], ["Z"])


def parent(pid: int) -> int:
    """The process id of its parent; 0 = it is gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        children.setdefault(parent(int(entry.name)), []).append(int(entry.name))
    found, ahead = [], [pid]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()
    except OSError:
        return []


def _told(programs: Sequence[Program]) -> str:
    return "\n".join(program.said()[-3000:] for program in programs)
