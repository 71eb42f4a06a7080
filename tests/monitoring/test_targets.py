import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitoring.address import announced
from monitoring.targets import TargetServer, publish, target_name, withdraw


@pytest.fixture
def server() -> Iterator[TargetServer]:
    server = TargetServer()
    yield server
    server.close()


def request(url: str, method: str, body: bytes) -> int:
    try:
        sent = urllib.request.Request(url, data=body, method=method)
        with urllib.request.urlopen(sent, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_names_are_safe_as_files_and_different_for_different_runs() -> None:
    names = {target_name(run, rank) for run in ("a", "a/b", "a-b", "../a") for rank in (0, 1)}
    assert len(names) == 8
    assert not any("/" in name for name in names)


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    stop = threading.Event()
    broken: list[str] = []

    def read() -> None:
        while not stop.is_set():
            for file in tmp_path.glob("*.json"):
                try:
                    json.loads(file.read_text())
                except ValueError:
                    broken.append(file.name)

    reader = threading.Thread(target=read)
    reader.start()
    for port in range(300):
        publish(tmp_path, "run-rank-0", f"127.0.0.1:{port}")
    stop.set()
    reader.join(timeout=10)
    assert not broken
    assert json.loads((tmp_path / "run-rank-0.json").read_text())[0]["targets"] == ["127.0.0.1:299"]


def test_withdrawing_what_is_not_there_is_harmless(tmp_path: Path, server: TargetServer) -> None:
    withdraw(tmp_path, "nobody", "host:1")
    withdraw(server.url, "nobody", "host:1")


def test_a_restarted_rank_replaces_its_entry(server: TargetServer) -> None:
    publish(server.url, "run-rank-0", "10.0.0.1:1")
    publish(server.url, "run-rank-0", "10.0.0.2:2")
    with urllib.request.urlopen(server.url, timeout=5) as response:
        assert json.load(response) == [{"targets": ["10.0.0.2:2"], "labels": {}}]
        assert response.headers["Content-Type"] == "application/json"  # Prometheus insists


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 400),
        (b"[]", 400),
        (b'[{"targets": []}]', 400),
        (b"[1]", 400),
        (b"x" * 5000, 413),
        (b"", 413),
    ],
)
def test_nonsense_is_refused_and_leaves_nothing(server: TargetServer, body: bytes, status: int) -> None:
    assert request(f"{server.url}/x", "PUT", body) == status
    with urllib.request.urlopen(server.url, timeout=5) as response:
        assert json.load(response) == []


def test_other_paths_do_not_exist(server: TargetServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(server.url.replace("/targets", "/other"), timeout=5)
    assert error.value.code == 404
    error.value.close()


def test_a_server_on_all_addresses_is_announced_by_one_that_others_reach() -> None:
    server = TargetServer("0.0.0.0")
    try:
        assert server.url.startswith(f"http://{announced('0.0.0.0')}:")
        assert "0.0.0.0" not in server.url
        publish(server.url, "run-rank-0", "10.0.0.1:1")
        with urllib.request.urlopen(server.url, timeout=5) as response:
            assert json.load(response)[0]["targets"] == ["10.0.0.1:1"]
    finally:
        server.close()


def test_a_target_of_another_address_is_left_to_it(tmp_path: Path) -> None:
    publish(tmp_path, "run-rank-0", "host:1")
    publish(tmp_path, "run-rank-0", "host:2")
    withdraw(tmp_path, "run-rank-0", "host:1")
    assert json.loads((tmp_path / "run-rank-0.json").read_text())[0]["targets"] == ["host:2"]
    withdraw(tmp_path, "run-rank-0", "host:2")
    assert not (tmp_path / "run-rank-0.json").exists()
