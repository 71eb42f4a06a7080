"""How Prometheus finds the ranks of a run: target files in a folder, or one HTTP address for several hosts.

Where all ranks share a folder with Prometheus, each publishes a file for `file_sd_configs` (glob `*.json`).
Where they do not, one process runs a `TargetServer` and every rank is announced to it; Prometheus asks it by
`http_sd_configs`. A killed rank leaves its entry behind; its next start replaces it.
"""

import json
import logging
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

from monitoring.address import announced, family, joined, unbracketed

log = logging.getLogger(__name__)

_TIMEOUT_S = 5.0
_LARGEST_ENTRY = 4096  # bytes


def target_name(run: str, rank: int) -> str:
    """The entry of a rank, safe as a file name."""
    return f"{quote(run, safe='')}-rank-{rank}"


def publish(targets: Path | str, name: str, address: str) -> None:
    """Make `address` (host:port) known as `name`, in a folder (Path) or to a TargetServer (http URL).

    Raises OSError where the folder cannot be written or the server does not answer.
    """
    entry = _entry(address)
    if isinstance(targets, str):
        _send(f"{targets.rstrip('/')}/{name}", "PUT", entry.encode())
        return
    targets.mkdir(parents=True, exist_ok=True)
    # The unfinished file must not match the glob, or Prometheus reads half of it.
    unfinished = targets / f".{name}.{os.getpid()}.unfinished"
    unfinished.write_text(entry, encoding="utf-8")
    unfinished.replace(targets / f"{name}.json")


def withdraw(targets: Path | str, name: str, address: str) -> None:
    """Forget `name`; nothing happens where it is not known, or by now of another address in the folder.

    Raises OSError as `publish` does.
    """
    if isinstance(targets, str):
        _send(f"{targets.rstrip('/')}/{name}", "DELETE", b"")
        return
    path = targets / f"{name}.json"
    if path.exists() and path.read_text(encoding="utf-8") == _entry(address):
        path.unlink(missing_ok=True)


def _entry(address: str) -> str:
    return json.dumps([{"targets": [address], "labels": {}}])


def _send(url: str, method: str, body: bytes) -> None:
    with urlopen(Request(url, data=body, method=method), timeout=_TIMEOUT_S):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = family(host)
        super().__init__((unbracketed(host), port), handler)


class TargetServer:
    """Answers Prometheus' `http_sd_configs` at `url`; ranks PUT and DELETE their entries below it.

    Whoever reaches the port can add entries, so it is bound to 127.0.0.1 unless a host is given. On "0.0.0.0" and
    "::" the URL has this machine's outward address.
    Raises OSError where the port is taken, or the host is no address of this machine.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        entries: dict[str, object] = {}
        self._server = _Server(host, port, _handler(entries, threading.Lock()))
        self.url = f"http://{joined(announced(host), self._server.server_port)}/targets"
        self._thread = threading.Thread(target=self._server.serve_forever, name="targets", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=_TIMEOUT_S)


def _handler(entries: dict[str, object], lock: threading.Lock) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.rstrip("/") != "/targets":
                return self._answer(404)
            with lock:
                body = json.dumps([entries[name] for name in sorted(entries)]).encode()
            self._answer(200, body)

        def do_PUT(self) -> None:
            size = int(self.headers.get("Content-Length", "0"))
            if not 0 < size <= _LARGEST_ENTRY:
                return self._answer(413)
            try:
                (entry,) = json.loads(self.rfile.read(size))
                (target,) = entry["targets"]
            except (ValueError, KeyError, TypeError):
                return self._answer(400)
            with lock:
                entries[self.path] = {"targets": [str(target)], "labels": {}}
            self._answer(200)

        def do_DELETE(self) -> None:
            with lock:
                entries.pop(self.path, None)
            self._answer(200)

        def _answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            log.debug(format, *arguments)

    return Handler
