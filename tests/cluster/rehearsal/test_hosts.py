"""Hosts of their own networks: they reach one another, are cut off and come back, and leave nothing."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.rehearsal import hosts as module
from cluster.rehearsal.gate import Gate
from cluster.rehearsal.hosts import Host, Hosts, forbidden, network
from data_shards.exits import Refused

REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"
needs_hosts = pytest.mark.skipif(bool(forbidden()), reason="needs network namespaces, and so root")


@pytest.fixture
def net() -> Iterator[Hosts]:
    with network() as net:
        yield net
    assert not list(Path("/run/netns").glob(f"{net.name}*"))


def reaches(host: Host, gate: Gate) -> bool:
    place = gate.url.removeprefix("http://").split(":")
    command = [*host.enter, sys.executable, "-c", REACH, *place]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def comes_to_reach(host: Host, gate: Gate) -> bool:
    """Within some time: on a busy machine the kernel takes seconds until a link that is up carries anything."""
    until = time.monotonic() + 60
    while not (found := reaches(host, gate)) and time.monotonic() < until:
        pass
    return found


@needs_hosts
def test_a_host_is_cut_off_and_comes_back(net: Hosts) -> None:
    first, second = net.add(), net.add()
    assert first.address != second.address
    with (
        Gate("http://127.0.0.1:9", net.serve()) as gate,
        subprocess.Popen([*second.enter, "sleep", "60"]) as process,
    ):
        try:
            assert comes_to_reach(first, gate)
            assert comes_to_reach(second, gate)
            back = net.cut_off(process.pid)
            assert not reaches(second, gate)
            assert comes_to_reach(first, gate)
            back()
            assert comes_to_reach(second, gate)
        finally:
            process.kill()


@needs_hosts
def test_a_process_of_no_host_cannot_be_cut_off(net: Hosts) -> None:
    net.add()
    with subprocess.Popen(["sleep", "60"]) as process:
        with pytest.raises(Refused, match=f"process {process.pid} is on none of these hosts"):
            net.cut_off(process.pid)
        process.kill()


def test_a_system_without_them_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ip", lambda *words: (_ for _ in ()).throw(Refused("not permitted")))
    assert forbidden() in ("not permitted", "there is no command ip (iproute2 of Linux)")
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert forbidden() == "there is no command ip (iproute2 of Linux)"
