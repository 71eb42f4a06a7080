"""The gate before an object store: what passes in each kind of weather, and that it passes again afterwards."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cluster.rehearsal.gate import Gate, Weather
from data_shards.mistake import UserError

BODY = bytes(range(256)) * 400


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent, or else with BODY."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self) -> None:
        self._answer(BODY)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def gate() -> Iterator[Gate]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Gate(f"http://127.0.0.1:{server.server_port}") as gate:
        yield gate
    server.shutdown()
    server.server_close()


def ask(gate: Gate, client: http.client.HTTPConnection | None = None) -> tuple[int, bytes]:
    """One answer, on this connection, or on one that is closed again."""
    if client is None:
        with closing(http.client.HTTPConnection("127.0.0.1", gate.port, timeout=10)) as client:
            return ask(gate, client)
    client.request("GET", "/")
    with client.getresponse() as answer:
        return answer.status, answer.read()


def test_all_passes_both_ways_on_connections_that_stay_open(gate: Gate) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", gate.port, timeout=10)) as client:
        for body in (b"", BODY, b"x" * 3_000_000):
            client.request("PUT", "/", body)
            with client.getresponse() as answer:
                assert (answer.status, answer.read()) == (200, body)
        assert ask(gate, client) == (200, BODY)


@pytest.mark.parametrize("weather", ["down", "errors", "nonsense", "resets", "slow"])
def test_a_fault_comes_and_goes(gate: Gate, weather: Weather) -> None:
    fine = gate.set(weather)
    started = time.monotonic()
    if weather == "errors":
        assert ask(gate)[0] == 503
    elif weather == "slow":
        assert ask(gate) == (200, BODY)
        assert time.monotonic() - started > 0.4
    else:
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(gate)
    fine()
    assert ask(gate) == (200, BODY)


def test_connections_that_there_are_meet_the_fault_too(gate: Gate) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", gate.port, timeout=10)) as client:
        assert ask(gate, client) == (200, BODY)
        fine = gate.set("errors")
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(gate, client)
        fine()


def test_a_gate_that_is_closed_serves_nobody() -> None:
    with Gate("http://127.0.0.1:9") as gate, pytest.raises((OSError, http.client.HTTPException)):
        ask(gate)  # nothing is there behind it
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", gate.port), 1).close()


@pytest.mark.parametrize("endpoint", ["", "https://host", "host:9000", "http://", "http://host:port"])
def test_an_endpoint_that_cannot_be_stood_for_is_refused(endpoint: str) -> None:
    with pytest.raises(UserError, match=r"AWS_ENDPOINT_URL: got .*needs http://host:port"):
        Gate(endpoint)
