"""A real S3 server for tests: Ceph's gateway with one monitor and one store in memory, on loopback.

All state is under one folder. The daemons trust each other without keys; the gateway asks its users for theirs.
"""

import os
import random
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import s3fs

LIBRARY = Path("/usr/lib/x86_64-linux-gnu")
BINARIES = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")
KEY, SECRET = "commonfate", "commonfate-secret"

CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
ms bind port min = {osd_port}
ms bind port max = {osd_port_max}
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
run dir = {folder}/run
pid file = {folder}/run/$type.$id.pid
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
log to stderr = false
mon cluster log file = {folder}/log/cluster.log
crash dir = {folder}/log
osd class dir = {library}/rados-classes
erasure code dir = {library}/ceph/erasure-code
plugin dir = {library}/ceph
[mon]
mon data = {folder}/mon
mon osd crush smoke test = false
paxos propose interval = 0.05
paxos min wait = 0.01
mon data avail warn = 1
mon data avail crit = 0
mgr initial modules =
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd crush update on start = true
[client]
# Without tcp_nodelay every small request waits 40 ms; without crc the gateway hangs for want of keys.
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
ms mon client mode = crc
rgw data = {folder}/rgw
rgw thread pool size = 32
rgw enable usage log = false
rgw run sync thread = false
rgw gc max objs = 7
rgw lc max objs = 7
rgw objexp hints num shards = 7
rgw override bucket index max shards = 1
rgw enable apis = s3
"""


@dataclass
class Ceph:
    """A running server. `kill_gateway` and `start_gateway` make an outage; objects survive it."""

    folder: Path
    port: int = field(default_factory=lambda: free_port())
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a client finds the server and its keys."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Set up a cluster of one and wait until the gateway answers."""
        for name in ("mon", "osd", "rgw", "run", "log"):
            (self.folder / name).mkdir()
        identity = str(uuid.uuid4())
        config = CONFIG.format(
            fsid=identity,
            folder=self.folder,
            library=LIBRARY,
            port=self.port,
            mon_port=self.port + 1,
            osd_port=self.port + 10,
            osd_port_max=self.port + 60,
        )
        (self.folder / "ceph.conf").write_text(config)
        monmap = str(self.folder / "monmap")
        address = f"[v2:127.0.0.1:{self.port + 1}]"
        self._run(
            "monmaptool", "--create", "--fsid", identity, "--addv", "a", address,
            "--set-min-mon-release", "16", monmap, configured=False,
        )  # fmt: skip
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._daemon("mon", "ceph-mon", "-i", "a", "-f")
        store = str(uuid.uuid4())
        self._run("ceph", "osd", "new", store)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", store)
        self._daemon("osd", "ceph-osd", "-i", "0", "-f")
        self._run(
            "radosgw-admin", "user", "create", "--uid=test", "--display-name=test",
            f"--access-key={KEY}", f"--secret={SECRET}",
        )  # fmt: skip
        self.start_gateway()

    def bucket(self) -> str:
        """The URL of a new, empty bucket."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        s3fs.S3FileSystem(
            key=KEY,
            secret=SECRET,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            skip_instance_cache=True,
        ).mkdir(name)
        return f"s3://{name}"

    def start_gateway(self) -> None:
        """Start the gateway; returns when it accepts connections."""
        self._daemon("rgw", "radosgw", "-n", "client.rgw", "-f")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"the gateway did not answer in 60 s; see {self.folder}/log")

    def kill_gateway(self) -> None:
        """As a crash would: kill -9."""
        self._kill("rgw")

    def stop(self) -> None:
        """Kill everything; the objects are gone."""
        for name in list(self._daemons):
            self._kill(name)

    def _kill(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        daemon.send_signal(signal.SIGKILL)  # a store that is asked politely takes seconds
        daemon.wait(timeout=30)

    def _daemon(self, name: str, *command: str) -> None:
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(self._configured(command), stdout=log, stderr=log)

    def _run(self, *command: str, configured: bool = True) -> None:
        full = self._configured(command) if configured else list(command)
        done = subprocess.run(full, capture_output=True, timeout=60, env=os.environ | {"CEPH_ARGS": ""})
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.decode(errors='replace')[-2000:]}")

    def _configured(self, command: tuple[str, ...]) -> list[str]:
        return [command[0], "-c", str(self.folder / "ceph.conf"), *command[1:]]


def free_port() -> int:
    """A port on loopback with the next one free as well, from a range that Linux gives to no client."""
    while True:
        port = random.SystemRandom().randrange(23000, 23900)
        try:
            for candidate in (port, port + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", candidate))
        except OSError:
            continue
        return port
