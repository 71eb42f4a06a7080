"""python -m cluster.rehearsal.freeze PID: stop the thread of a process that works most, and leave its others running.

As a debugger does (ptrace), from outside: what is rehearsed needs no hook. The thread runs again when stdin ends.
"""

import ctypes
import errno
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from data_shards.exits import Refused

_SEIZE, _INTERRUPT = 0x4206, 0x4207
_ALL_THREADS = 0x40000000  # __WALL
_STARTED_S = 60.0
_WATCHED_S = 1.0  # for who works now: what a process has done since its start was mostly to import
_TRIES = 200
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


def forbidden() -> str:
    """Why this system does not let a process stop a thread of another; "" = it does."""
    level = int(_YAMA.read_text()) if _YAMA.exists() else 0
    if level == 0 or (level < 3 and os.geteuid() == 0):
        return ""
    return f"{_YAMA} is {level}, by which no process stops a thread of another"


def freeze(pid: int) -> Callable[[], None]:
    """Stop the thread of a process that works most, which is the one that trains; returns what lets it go.

    Raises:
        Refused: this system does not allow it.
    """
    command = [sys.executable, "-m", __name__, str(pid)]
    here = Path(__file__).parents[2]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=here, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    ready = select.select([process.stdout], [], [], _STARTED_S)[0]
    said = process.stdout.readline().strip() if ready else "no answer"
    if said != "stopped":
        process.kill()
        _close(process)
        raise Refused(f"no thread of process {pid} can be stopped here: {said}")
    return partial(_close, process)


def _close(process: subprocess.Popen[str]) -> None:
    with process:  # its pipes end, then it does
        pass


def _stop(pid: int) -> str:
    """Stop the thread; returns why it cannot be, "" = it is stopped."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        thread = _busiest(pid)
    except FileNotFoundError:
        return os.strerror(errno.ESRCH)
    for _ in range(_TRIES):  # rather while it waits: one that computes may hold what all others need
        if _fields(pid, thread)[0] == "S":
            break
        time.sleep(0.005)
    for request in (_SEIZE, _INTERRUPT):
        if libc.ptrace(request, thread, None, None) == -1:
            return os.strerror(ctypes.get_errno())
    libc.waitpid(thread, None, _ALL_THREADS)
    return ""


def _busiest(pid: int) -> int:
    before = {int(each.name): _spent(pid, int(each.name)) for each in Path(f"/proc/{pid}/task").iterdir()}
    time.sleep(_WATCHED_S)
    return max(before, key=lambda thread: _spent(pid, thread) - before[thread])


def _spent(pid: int, thread: int) -> int:
    """Ticks of CPU time; none of a thread that is gone."""
    try:
        fields = _fields(pid, thread)
    except FileNotFoundError:
        return 0
    return int(fields[11]) + int(fields[12])


def _fields(pid: int, thread: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{thread}/stat").read_text().rsplit(")", 1)[1].split()


def _wait_for_the_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def _main() -> None:
    # Of the thread that stops another, and of no other, is it heard that the other is gone.
    refused = _stop(pid := int(sys.argv[1]))
    print(refused or "stopped", flush=True)
    if not refused:
        over = threading.Event()
        threading.Thread(target=_wait_for_the_end, args=(over,), daemon=True).start()
        libc = ctypes.CDLL(None)
        while not over.wait(0.1) and Path(f"/proc/{pid}").exists():
            libc.waitpid(-1, None, _ALL_THREADS | os.WNOHANG)


if __name__ == "__main__":
    _main()
