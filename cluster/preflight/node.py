"""What every node looks at: that it is as the driver, sees what the driver sees, and reaches the other nodes."""

import glob
import hashlib
import importlib.metadata
import os
import platform
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import psutil

from cluster.preflight.driver import manifest_hash, probe_name, put_and_read
from cluster.preflight.plan import PROBE_S, Ask, Code
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError

_PACKAGES = ("cluster", "data_shards", "model", "monitoring", "trainer")
_VERSIONS = ("torch", "deepspeed", "ray", "numpy", "pydantic", "s3fs")
_CLOCK_S = 5.0
_REACH_S = 3.0
_AT_ONCE = 32


def manifest(ask: Ask) -> Iterator[str]:
    """The data set is the driver's."""
    for url, expected in ask.manifests.items():
        try:
            if (found := manifest_hash(url)) != expected:
                yield f"field data.url: {url} is another set here ({found}) than on the driver ({expected})"
        except StorageError as error:
            yield f"field data.url: {error}"


def output(ask: Ask) -> Iterator[str]:
    """The output is the driver's, and can be written."""
    if not ask.probe:
        return
    try:
        if not open_store(ask.plan.output, PROBE_S).exists(ask.probe):
            yield (
                f"field output: {ask.plan.output} is another place here than on the driver; give s3://bucket/prefix, "
                "or a folder that all machines share"
            )
    except StorageError as error:
        yield f"field output: {error}"
        return
    yield from put_and_read(ask.plan.output, probe_name("node"))


def scratch(ask: Ask) -> Iterator[str]:
    """There is room for two states in the folder of temporary files, for each node that has it; others keep out."""
    folder = Path(tempfile.gettempdir())
    sharing = max(len(glob.glob(f"{folder}/commonfate-preflight-*/{ask.token}")), 1)
    needed, free = 2 * ask.plan.state_bytes * sharing, shutil.disk_usage(folder).free
    if free < needed:
        shared = f", for {sharing} nodes share it" if sharing > 1 else ""
        yield (
            f"TMPDIR {folder} has {free / 1e6:.0f} MB free, and saves need {needed / 1e6:.0f} MB{shared}; make room, "
            "or set TMPDIR to a larger disk where the machine starts"
        )
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        yield f"TMPDIR {folder} lets every user replace files of others; set its sticky bit (chmod +t)"


def peers(ask: Ask) -> Iterator[str]:
    """The other nodes are reached at the address that collectives use."""
    loopback = sorted(name for name, (host, _) in ask.peers.items() if host.startswith("127."))
    if ask.hosts > 1 and loopback:
        have = ", ".join(name for _, name in socket.if_nameindex() if name != "lo")
        yield (
            f"collectives of {', '.join(loopback)} would listen at 127.0.0.1, where no other machine reaches them; set "
            f"GLOO_SOCKET_IFNAME where the machines start (this one has {have})"
        )
        return
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        names = sorted(ask.peers)
        for name, trouble in zip(names, threads.map(lambda name: _trouble(ask, name), names), strict=True):
            if trouble:
                host, port = ask.peers[name]
                yield f"node {name} cannot be reached at {host}:{port} ({trouble}); open all ports between the nodes"


def code(ask: Ask) -> Iterator[str]:
    """Our sources are the driver's."""
    if sources() != ask.code.sources:
        yield (
            f"other sources of {', '.join(_PACKAGES)} than on the driver ({sources()}, not {ask.code.sources}); ship "
            "them with the job, or install the same version everywhere"
        )


def packages(ask: Ask) -> Iterator[str]:
    """Python and what we stand on are of the driver's versions; which devices a build is for may differ."""
    for name, version in versions().items():
        if _public(version) != _public(expected := ask.code.versions.get(name, "")):
            yield f"{name} is {version or 'missing'} here and {expected or 'missing'} on the driver; use one image"


def devices(ask: Ask) -> Iterator[str]:
    """The GPUs that Ray gives to workers are there, and torch is built for them."""
    if "GPU" not in ask.plan.worker:
        return
    present = len(glob.glob("/dev/nvidia[0-9]*"))
    if not os.path.exists("/dev/kfd") and present < ask.gpus:
        yield f"Ray counts {ask.gpus} GPUs, {present} are there; check their driver and --num-gpus of `ray start`"
    if (version := versions()["torch"]).endswith("+cpu"):
        yield f"torch {version} is built without GPUs, and scaling.use_gpu is true; install a build with them"


def clock(ask: Ask) -> Iterator[str]:
    """The clock is the driver's, but for the time that the question took."""
    ahead = time.time() - ask.sent
    if abs(ahead) > _CLOCK_S:
        side = "ahead of" if ahead > 0 else "behind"
        yield f"the clock is {abs(ahead):.0f} s {side} the driver's, at most {_CLOCK_S:g} are allowed; set up NTP"


def code_here() -> Code:
    """What this machine would run."""
    return Code(sources(), versions())


def sources() -> str:
    """Twelve hexadecimal digits over the names and contents of our modules, without importing them."""
    total = hashlib.sha256()
    for package in _PACKAGES:
        spec = find_spec(package)
        root = Path(spec.origin).parent if spec and spec.origin else None
        for file in sorted(root.rglob("*.py")) if root else ():
            total.update(
                f"{package}/{file.relative_to(root or file).as_posix()}\n".encode() + file.read_bytes()
            )
    return total.hexdigest()[:12]


def versions() -> dict[str, str]:
    """Of Python, by its first two numbers, and of packages; "" = it is not installed."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in _VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def collective_host() -> str:
    """The address at which gloo listens here.

    Raises:
        OSError: GLOO_SOCKET_IFNAME names no interface that has one.
    """
    if wanted := os.environ.get("GLOO_SOCKET_IFNAME"):
        addresses = psutil.net_if_addrs()
        for name in wanted.split(","):
            for address in addresses.get(name, ()):
                if address.family == socket.AF_INET:
                    return str(address.address)
        have = ", ".join(addresses)
        raise OSError(
            f"GLOO_SOCKET_IFNAME names {wanted}, and the interfaces here are {have}; set it to one of them"
        )
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "127.0.0.1"  # as gloo does


def _trouble(ask: Ask, name: str) -> str:
    """Why a node's post does not answer; "" = it does."""
    try:
        with socket.create_connection(ask.peers[name], _REACH_S) as line:
            line.settimeout(_REACH_S)
            return "" if line.recv(1024).decode() == ask.token else "somebody else answers"
    except OSError as error:
        return error.strerror or str(error)


def _public(version: str) -> str:
    return version.partition("+")[0]
