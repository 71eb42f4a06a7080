"""Scene: a rehearsed run with its driver, its nodes and its store, on which faults act."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.rehearsal.gate import Gate
from cluster.rehearsal.hosts import Hosts
from cluster.rehearsal.nodes import LocalRay
from cluster.rehearsal.processes import WORKER, EndedEarly, Program, command_line, lines
from data_shards.exits import Refused
from data_shards.storage.store import Store
from trainer.journal import LINES, local_folder, stored_lines

NODE_CPUS = 2  # of each node: workers find room while those before them still end
_HERE = Path(__file__).parents[2]


@dataclass
class Scene:
    """What a fault may touch.

    Attributes:
        nodes: the Ray.
        config: the file with the run's config.
        store: of the run's output.
        data: of the run's clips, a copy of its own.
        log: what the drivers say, one after the other.
        variables: the environment of a driver.
        gate: the way to the object store, where the run lies in one.
        hosts: of the nodes, where each has one of its own.
        drivers: that run, or have ended and were not looked at since.
    """

    nodes: LocalRay
    config: Path
    store: Store
    data: Store
    log: Path
    variables: Mapping[str, str]
    gate: Gate | None = None
    hosts: Hosts | None = None
    drivers: list[Program] = field(default_factory=list)

    @property
    def driver(self) -> Program:
        """The one that was started last."""
        return self.drivers[-1]

    def start(self) -> None:
        """Start a driver, as a user would: the same command each time."""
        command = [
            *self.nodes.head.enter,
            sys.executable,
            "-m",
            "cluster",
            "train",
            "--config",
            str(self.config),
        ]
        words = ["--address", self.nodes.gcs]
        self.drivers.append(
            Program([*command, *words], self.log, self.nodes.environment | dict(self.variables), _HERE)
        )

    def ended(self) -> list[int]:
        """Exit codes of the drivers that have ended since the last call."""
        over = [driver for driver in self.drivers if driver.code is not None]
        self.drivers = [driver for driver in self.drivers if driver not in over]
        return [driver.code or 0 for driver in over]

    def ranks(self) -> list[int]:
        """Process ids of the workers, ascending."""
        return sorted(p.pid for p in self.nodes.processes() if WORKER in command_line(p.pid))

    def lines(self) -> list[dict[str, Any]]:
        """The run's journal as it is now. In an object store it lags: there rank 0 has it in its working folder."""
        name = local_folder(self.store.url) / LINES
        if name.is_absolute():
            return stored_lines(self.store)
        here = [each for pid in self.ranks() if (each := lines(Path(f"/proc/{pid}/cwd") / name))]
        return max(here, key=lambda each: float(each[-1]["time"]), default=None) or stored_lines(self.store)

    def said(self, since: int = 0) -> str:
        """What the drivers have said from this byte of the log on."""
        return self.log.read_bytes()[since:].decode(errors="replace") if self.log.exists() else ""

    def said_bytes(self) -> int:
        """How much that is."""
        return self.log.stat().st_size if self.log.exists() else 0

    def wait_for_ranks_to_end(self, limit_s: float) -> None:
        """Until no worker is left, `limit_s` seconds at most."""
        deadline = time.monotonic() + limit_s
        while self.ranks() and time.monotonic() < deadline:
            time.sleep(0.2)

    def wait_for_node(self) -> None:
        """Until the node that has joined last runs.

        Raises:
            Refused: it does not.
        """
        try:
            self.nodes.wait()
        except (EndedEarly, TimeoutError) as error:
            raise Refused(f"a node cannot be started here: {error}") from error

    def kill_driver(self) -> None:
        """SIGKILL, and wait for its end."""
        self.driver.kill()
