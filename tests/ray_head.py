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
        gcs, dashboard, *rest = free_ports(9)
        agent, metrics, nodes, objects, runtime, grpc, client = rest
        self.address = f"http://127.0.0.1:{dashboard}"
        here = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
        self.environment = here | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray replaces 127.0.0.1 and listens everywhere
            "GLOO_SOCKET_IFNAME": "lo",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TORCH_EXTENSIONS_DIR": str(folder / "extensions"),
        }
        command = [
            *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"),
            *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--port={gcs}"),
            *(f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
            *(f"--metrics-export-port={metrics}", f"--node-manager-port={nodes}"),
            *(f"--object-manager-port={objects}", f"--runtime-env-agent-port={runtime}"),
            *(f"--dashboard-agent-grpc-port={grpc}", f"--ray-client-server-port={client}"),
            *(f"--num-cpus={cpus}", "--object-store-memory=80000000", f"--temp-dir={folder / 'ray'}"),
        ]
        self._log = folder / "head.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, cwd=folder
            )

    def wait(self) -> None:
        """Until the job API answers."""
        asked = urllib.request.Request(
            f"{self.address}/api/jobs/", headers={"Authorization": f"Bearer {self.token}"}
        )
        deadline = time.monotonic() + _START_S
        while True:
            assert self._process.poll() is None, self._log.read_text()
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
        self._process.send_signal(signal.SIGTERM)
        for process in psutil.wait_procs(family, _GONE_S)[1]:
            with suppress(psutil.Error):
                process.kill()
        self._process.wait(timeout=30)


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
