"""A Ray of several nodes on this machine, as `ray start` makes one: on loopback, closed to strangers."""

import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from secrets import token_hex

import psutil

from cluster.rehearsal.hosts import Host
from cluster.rehearsal.processes import EndedEarly, Program, parent, wait_until

_START_S = 240.0
_GONE_S = 15.0
_TRIES = 3  # of a node: Ray ends one whose agents are not there within 30 s, which on a busy machine they may not be
_RUNS = "Ray runtime started."  # how a node says so


class LocalRay:
    """A running head, which other nodes may join. `close` leaves no process.

    Args:
        folder: for its files: a short path, since sockets lie there.
        cpus: what the head has of them.
        dashboard: whether it has a dashboard, and with it the job API.
        variables: more of them, for the environment of all nodes.
        host: gives one for each node; by default all are on loopback.
    """

    def __init__(
        self,
        folder: Path,
        cpus: int = 2,
        *,
        dashboard: bool = True,
        variables: Mapping[str, str] | None = None,
        host: Callable[[], Host] = Host,
    ) -> None:
        self.folder, self.token = folder, token_hex(32)
        gcs, port, client = free_ports(3)
        self._host, self.head = host, host()
        self.address, self.gcs = f"http://{self.head.address}:{port}", f"{self.head.address}:{gcs}"
        self.ports, self._dashboard = [gcs, port, client], dashboard
        here = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
        self.environment = here | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray replaces 127.0.0.1 and listens everywhere
            # A machine that is busy with other tests is not dead.
            "RAY_agent_register_timeout_ms": "300000",
            "RAY_health_check_failure_threshold": "30",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # else 30 s, and what runs is to end anyway
            "GLOO_SOCKET_IFNAME": self.head.interface,
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TORCH_EXTENSIONS_DIR": str(folder / "extensions"),
            **(variables or {}),
        }
        self._log = folder / "head.log"
        self._nodes: list[Program] = []
        self._start(
            self.head,
            [str(Path(sys.executable).parent / "ray")],
            *("--head", f"--dashboard-host={self.head.address}", f"--port={gcs}", f"--dashboard-port={port}"),
            *(f"--ray-client-server-port={client}", f"--num-cpus={cpus}", f"--temp-dir={folder / 'ray'}"),
            f"--include-dashboard={str(dashboard).lower()}",
        )

    def join(self, cpus: int, **variables: str) -> None:
        """Start another node beside it, with more variables in its environment."""
        ray = [sys.executable, "-P", str(Path(__file__).with_name("join.py"))]
        self._start(self._host(), ray, f"--address={self.gcs}", f"--num-cpus={cpus}", **variables)

    def _start(self, host: Host, ray: Sequence[str], *words: str, **variables: str) -> None:
        names = (
            "dashboard-agent-listen",
            "metrics-export",
            "node-manager",
            "object-manager",
            "runtime-env-agent",
        )
        found = free_ports(6)
        self.ports += found
        ports = zip((*names, "dashboard-agent-grpc"), found, strict=True)
        command = [
            *(*host.enter, *ray, "start", "--block", f"--node-ip-address={host.address}"),
            *(f"--{name}-port={port}" for name, port in ports),
            *("--object-store-memory=80000000", *words),
        ]
        self._another = partial(Program, command, self._log, self.environment | variables, self.folder)
        self._nodes.append(self._another())

    def wait(self) -> None:
        """Until the node that was started last runs, and the job API answers where there is one.

        Raises:
            EndedEarly: it has ended, and so have others that were started in its place.
            TimeoutError: nothing is heard of it.
        """
        for left in reversed(range(_TRIES)):
            try:
                return wait_until(self._answers, self._nodes[-1:], _START_S, 0.2)
            except EndedEarly:
                if not left:
                    raise
                self._nodes[-1] = self._another()

    def _answers(self) -> bool:
        if self._log.read_text(errors="replace").count(_RUNS) < len(self._nodes):
            return False
        if not self._dashboard:
            return True
        asked = urllib.request.Request(
            f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {self.token}"}
        )
        with suppress(OSError):
            urllib.request.urlopen(asked, timeout=5).close()
            return True
        return False

    def processes(self) -> list[psutil.Process]:
        """All that belong to it, also those whose parent is gone."""
        found = list(psutil.process_iter())
        mine = {process.pid for process in found if self._is_mine(process)}
        # Ray's agents write their names over their environment; their parent is a raylet.
        return [process for process in found if process.pid in mine or parent(process.pid) in mine]

    def _is_mine(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return bool(process.environ().get("RAY_AUTH_TOKEN") == self.token)
        return False

    def close(self) -> None:
        """End it, and what it has started."""
        family = self.processes()
        for node in reversed(self._nodes):
            node.process.send_signal(signal.SIGTERM)  # nothing where it has ended
        for process in psutil.wait_procs(family, _GONE_S)[1]:
            with suppress(psutil.Error):
                process.kill()
        for node in self._nodes:
            node.process.wait(timeout=30)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
