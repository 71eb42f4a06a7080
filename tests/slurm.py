"""A real Slurm for tests: a controller and the daemon of one node, on loopback, of the user who runs the tests.

All state is under one folder. The daemons and their clients trust each other by a key of their own (munge).
"""

import getpass
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.ceph import free_port

BINARIES = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scancel", "scontrol", "squeue")
NODE = "one"

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={node_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# A job may ask for more than this machine has: only the order of events is tested.
SlurmdParameters=config_overrides
KillWait=10
ReturnToService=2
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=65536
PartitionName=all Nodes={node} Default=YES MaxTime=10
"""


@dataclass
class Slurm:
    """A running cluster of one node, `NODE`."""

    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    _daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start the daemons, and wait until the node takes jobs."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        port = free_port()
        config = self.folder / "slurm.conf"
        node = {"node": NODE, "host": os.uname().nodename, "port": port, "node_port": port + 1}
        config.write_text(CONFIG.format(folder=self.folder, user=getpass.getuser(), **node))
        self.environment["SLURM_CONF"] = str(config)
        files = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        self._daemon("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *files)
        self._wait_for(lambda: (self.folder / "munge.socket").exists(), "munged")
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D", "-N", NODE)
        self._wait_for(lambda: "State=IDLE" in self.told("scontrol", "show", "node", NODE), "the node")

    def submit(self, script: Path, environment: dict[str, str]) -> str:
        """`sbatch` a script from the folder that it lies in, with these variables beside its own; the job's number."""
        done = subprocess.run(
            ["sbatch", "--parsable", script.name],
            cwd=script.parent, env=self.environment | environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def told(self, *command: str) -> str:
        """What one of Slurm's commands says; "" where it fails."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60
        ).stdout

    def fact(self, job: str, name: str) -> str:
        """Of a job, by its name in `scontrol show job`: JobState, ExitCode."""
        words = self.told("scontrol", "show", "job", job).split()
        return next((word.partition("=")[2] for word in words if word.startswith(f"{name}=")), "")

    def stop(self) -> None:
        """End the jobs, then the daemons."""
        self.told("scancel", "--user", getpass.getuser())
        end = time.monotonic() + 30
        while self.told("squeue", "--noheader") and time.monotonic() < end:
            time.sleep(0.3)
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(timeout=10)

    def _daemon(self, name: str, *words: str) -> None:
        binary = shutil.which(name) or name
        with (self.folder / f"{name}.out").open("wb") as log:
            command = [binary, *words]
            self._daemons.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))

    def _wait_for(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 60
        while not done():
            if time.monotonic() > end:
                logs = [path for path in self.folder.iterdir() if path.suffix in (".out", ".log")]
                said = {path.name: path.read_text(errors="replace")[-1000:] for path in logs}
                raise RuntimeError(f"{what} did not come up in 60 s: {said}")
            time.sleep(0.1)
