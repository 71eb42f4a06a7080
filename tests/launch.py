"""Start training processes as torchrun would, watch them, kill them: for the tests of resuming and of several ranks."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.rehearsal import processes
from cluster.rehearsal.processes import Program, wait_until

TINY = (
    "model.size=16",
    "model.width=8",
    "model.hidden=8",
    "model.reader_width=4",
    "model.reader_hidden=8",
    "model.stem_stride=2",
    "model.sinkhorn_iterations=5",
    "batch.size=4",
    "batch.micro=2",
    "checkpoint.steps=5",
    "log_steps=1",
    "evaluation.steps=0",
    "engine.threads=1",
    "monitoring.port=null",
)


@dataclass
class Ranks:
    """The processes of one run on this machine."""

    programs: list[Program]
    run: Path

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        """By rank."""
        return [program.process for program in self.programs]

    def wait(self, timeout: float = 240) -> None:
        """Until all have ended well; prints what they said where not."""
        deadline = time.monotonic() + timeout
        try:
            for process in self.processes:
                process.wait(max(1.0, deadline - time.monotonic()))
        finally:
            self.kill()
        codes = [program.code for program in self.programs]
        assert codes == [0] * len(codes), f"exit codes {codes}\n{self.said()}"

    def kill(self) -> None:
        """SIGKILL, by process id."""
        for program in self.programs:
            program.kill()

    def wait_for_step(self, step: int, timeout: float = 120) -> None:
        """Until metrics.jsonl has a line of `step` or later."""
        wait_until(lambda: reached(self.run, step), self.programs, timeout, 0.005)

    def said(self) -> str:
        """The end of every rank's output, also of starts before."""
        return "\n".join(program.log.read_text()[-3000:] for program in self.programs)


def start(run: Path, world: int, words: Sequence[str], output: str | None = None) -> Ranks:
    """`python -m trainer train demo` on `world` ranks with the overrides `words` after TINY.

    `run` is the folder of metrics.jsonl. With `output` on object storage the processes start in run's parent, and
    `run` must be runs/NAME there, where such a run writes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "trainer", "train", "demo", *TINY, *words, f"output={output or run}"]
    programs = []
    run.parent.mkdir(parents=True, exist_ok=True)
    for rank in range(world):
        place = {
            "RANK": rank,
            "WORLD_SIZE": world,
            "LOCAL_RANK": rank,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        extra = {"OMP_NUM_THREADS": 1, "TORCH_EXTENSIONS_DIR": run.parent / "extensions"}
        env = os.environ | {name: str(value) for name, value in (place | extra).items()}
        log = run.parent / f"{run.name}.rank{rank}.log"
        programs.append(Program(command, log, env, place_of(run, output)))
    return Ranks(programs, run)


def place_of(run: Path, output: str | None) -> Path | None:
    """Where the processes start: a run on object storage writes to runs/ there."""
    return run.parent.parent if output else None


def lines(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl of a run, without a last line that is still being written."""
    return processes.lines(run / "metrics.jsonl")


def reached(run: Path, step: int) -> bool:
    """Whether metrics.jsonl has a line of `step` or later."""
    return any(line["step"] >= step for line in lines(run))


def losses(run: Path) -> dict[int, float]:
    """Loss by step."""
    return {line["step"]: line["loss"] for line in lines(run) if "loss" in line}
