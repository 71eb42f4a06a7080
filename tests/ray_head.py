"""A Ray of its own for tests, as `ray start --head` makes one: on loopback, with its job API, closed to strangers."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import psutil

_START_S = 90.0
_GONE_S = 15.0


class RayHead:
    """A running head. Files lie in a short folder of its own, since sockets do; `close` leaves no process."""

    def __init__(self, folder: Path, cpus: int = 2) -> None:
        self.folder, self.token = folder, token_hex(32)
        gcs, dashboard, client = free_ports(3)
        self.address, self.gcs = f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}"
        here = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
        self.environment = here | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray replaces 127.0.0.1 and listens everywhere
            # A machine that is busy with other tests is not dead.
            "RAY_agent_register_timeout_ms": "300000",
            "RAY_health_check_failure_threshold": "30",
            "GLOO_SOCKET_IFNAME": "lo",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TORCH_EXTENSIONS_DIR": str(folder / "extensions"),
        }
        self._log = folder / "head.log"
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._start(
            *("--head", "--dashboard-host=127.0.0.1", f"--port={gcs}", f"--dashboard-port={dashboard}"),
            *(f"--ray-client-server-port={client}", f"--num-cpus={cpus}", f"--temp-dir={folder / 'ray'}"),
        )

    def join(self, cpus: int, **variables: str) -> None:
        """Start another node beside it, with more variables in its environment."""
        self._start(f"--address={self.gcs}", f"--num-cpus={cpus}", **variables)

    def _start(self, *words: str, **variables: str) -> None:
        names = (
            "dashboard-agent-listen",
            "metrics-export",
            "node-manager",
            "object-manager",
            "runtime-env-agent",
        )
        ports = zip((*names, "dashboard-agent-grpc"), free_ports(6), strict=True)
        command = [
            *(str(Path(sys.executable).parent / "ray"), "start", "--block", "--node-ip-address=127.0.0.1"),
            *(f"--{name}-port={port}" for name, port in ports),
            *("--object-store-memory=80000000", *words),
        ]
        with self._log.open("ab") as log:
            self._nodes.append(
                subprocess.Popen(
                    command, env=self.environment | variables, stdout=log, stderr=log, cwd=self.folder
                )
            )

    def wait(self) -> None:
        """Until the job API answers."""
        asked = urllib.request.Request(
            f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {self.token}"}
        )
        deadline = time.monotonic() + _START_S
        while True:
            assert self._nodes[0].poll() is None, self._log.read_text()
            with suppress(OSError), urllib.request.urlopen(asked, timeout=5):
                return
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.2)

    def processes(self) -> list[psutil.Process]:
        """All that belong to it, also those whose parent is gone."""
        mine = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("RAY_AUTH_TOKEN") == self.token:
                    mine.append(process)
        return mine

    def close(self) -> None:
        """End it, and what it has started."""
        family = self.processes()
        for node in reversed(self._nodes):
            node.send_signal(signal.SIGTERM)
        for process in psutil.wait_procs(family, _GONE_S)[1]:
            with suppress(psutil.Error):
                process.kill()
        for node in self._nodes:
            node.wait(timeout=30)


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
