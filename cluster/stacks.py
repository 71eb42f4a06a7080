"""Stacks: what the threads of a worker are doing, asked of a process that hangs and written down for people."""

import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path

Stacks = dict[str, list[str]]
"""Of each thread by its name: its calls, the outermost first."""

_LOOP = "TrainingThread"  # how Ray's begins to be called that runs the loop
_COLLECTIVES = ("/torch/distributed/", "/deepspeed/comm/")
_SHOWN = 6  # of the innermost calls


def stacks() -> Stacks:
    """Those of this process."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        f"{names.get(number, 'thread')} {number}": [
            f"{call.filename}:{call.lineno} {call.name}" for call in traceback.extract_stack(frame)
        ]
        for number, frame in sys._current_frames().items()
    }


def loop_of(found: Stacks) -> list[str]:
    """The calls of the thread that trains; none where there is no such thread."""
    return next((calls for name, calls in found.items() if name.startswith(_LOOP)), [])


def waits(found: Stacks) -> bool:
    """Whether the loop waits in a collective for other ranks."""
    return any(part in call for call in loop_of(found) for part in _COLLECTIVES)


def innermost(found: Stacks) -> str:
    """The last calls of the loop in a line."""
    return " < ".join(reversed(loop_of(found)[-_SHOWN:]))


def write_down(folder: Path, name: str, found: Mapping[int, Stacks]) -> Path:
    """The stacks of all ranks as a text file; returns it. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.txt"
    lines: list[str] = []
    for rank, each in sorted(found.items()):
        for thread, calls in each.items():
            lines += [f"rank {rank}, {thread}", *(f"    {call}" for call in calls), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
