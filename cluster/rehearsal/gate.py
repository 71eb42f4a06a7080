"""Gate: the way from a rehearsed run to its object store, which a fault closes, cuts, slows or answers on.

It passes bytes on as they are, so that what clients have signed stays signed: S3's signature covers the address that
the client knows, which is the gate's.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

from data_shards.mistake import UserError

Weather = Literal["fine", "down", "errors", "nonsense", "resets", "slow"]

_PIECE = 1 << 16
_RESET_BYTES = 3000  # of an answer that come before its connection is reset
_SLOW_S = 0.5  # before each piece of an answer
_ANSWER = (
    b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message>"
    b"</Error>"
)
_BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
_NONSENSE = b"220 no web server here\r\n"
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset


def behind(endpoint: str) -> tuple[str, int]:
    """Host and port of a server that a gate can stand for.

    Raises:
        UserError: it is none, such as one of https, whose clients would not believe the gate.
    """
    try:
        parts = urlsplit(endpoint)
        if parts.scheme == "http" and parts.hostname:
            return parts.hostname, parts.port or 80
    except ValueError:  # no port, or no address
        pass
    raise UserError(
        f"AWS_ENDPOINT_URL: got {endpoint or 'nothing'}, needs http://host:port of a server that faults may come "
        "before; one of your own will do"
    )


class Gate:
    """A server on loopback that stands for another one. A context manager.

    Args:
        endpoint: of the other, http://host:port.
        server: that listens already, for clients who cannot reach loopback; None = one on loopback.

    Raises:
        UserError: as `behind`.
    """

    def __init__(self, endpoint: str, server: socket.socket | None = None) -> None:
        self._there = behind(endpoint)
        self._weather: Weather = "fine"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = server or socket.create_server(("127.0.0.1", 0), backlog=128)
        host, self.port = self._server.getsockname()[:2]
        self.url = f"http://{host}:{self.port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> "Gate":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes who waits for a connection
        self._server.close()
        self._cut()

    def set(self, weather: Weather) -> Callable[[], None]:
        """From now on, and for the connections that there are; returns what makes it fine again.

        Down: none is served. Errors: each request is answered with 503. Nonsense: with what is no HTTP. Resets: answers
        break off. Slow: they come in pieces, with waits between them.
        """
        self._weather = weather
        self._cut()
        return self._fine

    def _fine(self) -> None:
        self._weather = "fine"

    def _cut(self) -> None:
        with self._lock:
            still = list(self._open)
        for each in still:
            _reset(each)

    def _serve(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        """One connection, from its first byte to its last."""
        if self._weather == "down":
            return _reset(client)
        if self._weather == "errors":
            return _refuse(client, _BUSY % len(_ANSWER) + _ANSWER)
        if self._weather == "nonsense":
            return _refuse(client, _NONSENSE)
        try:
            server = socket.create_connection(self._there, 10)
        except OSError:
            return _reset(client)
        server.settimeout(None)
        with self._lock:
            self._open |= {client, server}
        back = threading.Thread(target=self._answer, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while piece := server.recv(_PIECE):
                if self._weather == "slow":
                    time.sleep(_SLOW_S)
                if self._weather == "resets" and passed + len(piece) > _RESET_BYTES:
                    client.sendall(piece[: max(0, _RESET_BYTES - passed)])
                    _reset(client)
                    break
                client.sendall(piece)
                passed += len(piece)
        for each in (client, server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _refuse(client: socket.socket, answer: bytes) -> None:
    """Answer one request, once all of its head is there; its body is not wanted."""
    client.settimeout(10)
    head = b""
    with suppress(OSError):
        while b"\r\n\r\n" not in head and (piece := client.recv(_PIECE)):
            head += piece
        client.sendall(answer)
        client.shutdown(socket.SHUT_WR)
        while client.recv(_PIECE):  # a close before would be a reset, and the answer lost
            pass
    client.close()


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
