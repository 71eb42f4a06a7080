"""Hosts and ports, of both versions of IP."""

import json
import urllib.request
from pathlib import Path

import pytest

from monitoring.address import announced, joined, parted
from monitoring.exporter import Exporter
from monitoring.targets import TargetServer


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        ("127.0.0.1", 9, "127.0.0.1:9"),
        ("node-7.lan", 65535, "node-7.lan:65535"),
        ("::1", 9, "[::1]:9"),
        ("[::1]", 9, "[::1]:9"),
        ("2001:db8::7:1", 80, "[2001:db8::7:1]:80"),
        ("fe80::1%eth0", 80, "[fe80::1%eth0]:80"),
    ],
)
def test_a_host_and_a_port_are_joined_and_parted(host: str, port: int, address: str) -> None:
    assert joined(host, port) == address
    assert parted(address) == (host.strip("[]"), str(port))


@pytest.mark.parametrize(("address", "host"), [("auto", "auto"), ("[::1]", "::1"), ("", "")])
def test_without_a_port_there_is_none(address: str, host: str) -> None:
    assert parted(address) == (host, "")


def test_what_listens_everywhere_is_announced_by_one_address_of_its_version() -> None:
    assert ":" not in announced("0.0.0.0")
    for host in ("::", "[::]", "0:0:0:0:0:0:0:0"):
        assert ":" in announced(host)
        assert announced(host) not in ("::", host)
    assert announced("[::1]") == "::1"


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ranks_are_found_and_scraped_by_ipv6(host: str, tmp_path: Path) -> None:
    server = TargetServer(host)
    try:
        assert server.url.startswith("http://[::1]:")
        for targets in (tmp_path, server.url):
            with Exporter("run", 0, 0, targets, host=host) as exporter:
                if isinstance(targets, Path):
                    (file,) = targets.glob("*.json")
                    told = json.loads(file.read_bytes())
                else:
                    told = json.loads(urllib.request.urlopen(targets, timeout=5).read())
                assert told == [{"targets": [exporter.address], "labels": {}}]
                page = urllib.request.urlopen(f"http://{exporter.address}/metrics", timeout=5).read()
                assert b"commonfate_run_state" in page
    finally:
        server.close()
