"""Exporter: one rank's metrics, kept in its process and served to Prometheus over HTTP."""

import logging
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)

from monitoring.address import announced, joined, unbracketed
from monitoring.catalogue import BASE_LABELS, METRICS, OPEN, Metric
from monitoring.run_state import RunState
from monitoring.targets import publish, target_name, withdraw

log = logging.getLogger(__name__)


class HostError(ValueError):
    """A host that is not an address of this machine."""


class Exporter:
    """The metrics of one rank of one run.

    Args:
        run: name of the run, a label of every series.
        rank: rank of this process, a label of every series.
        port: port to serve at, 0 = any free one, None = record only. A port that is taken, may not be used, or
            does not exist is replaced by a free one, with a warning: monitoring never stops a run.
        targets: folder (Path) for this rank's Prometheus target file, or URL (str) of a TargetServer,
            None = tell nobody.
        host: address to listen at; "0.0.0.0" and "::" are announced as this machine's address towards the
            TargetServer, or else its outward one.

    Raises:
        HostError: a host that is not an address of this machine.
    """

    def __init__(
        self, run: str, rank: int, port: int | None, targets: Path | str | None, *, host: str = "127.0.0.1"
    ) -> None:
        self.registry = CollectorRegistry()
        self.address: str | None = None
        self._base = {"run": run, "rank": str(rank)}
        self._writers: dict[tuple[object, ...], Callable[[float], None]] = {}
        self._server: tuple[WSGIServer, Thread] | None = None
        self._targets = targets
        self._target_name = target_name(run, rank)
        disable_created_metrics()  # a second series per counter that is in no table
        self._metrics = {row.name: _metric(row, self.registry) for row in METRICS.values()}
        for row in METRICS.values():
            # Counters show 0 from the start: "no retries" must differ from "not exported".
            if row.kind == "counter" and not row.labels:
                self.observe(row.name, 0)
        if port is not None:
            self._serve(unbracketed(host), port)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Record `value`: a gauge is set to it, a counter grows by it, a histogram counts it.

        Raises:
            ValueError: a name, label or label value that is not in the catalogue; a counter that would fall.
        """
        key = (name, *labels.items())
        write = self._writers.get(key)
        if write is None:
            write = self._writers[key] = self._writer(name, labels)
        write(value)

    def enter(self, state: RunState) -> None:
        """Export `state` as the one that the run is in."""
        for each in RunState:
            self.observe("commonfate_run_state", float(each is state), state=each)

    def close(self) -> None:
        """Withdraw the target and stop serving; recorded values stay readable. Harmless when repeated."""
        if self._server is None:
            return
        if self._targets is not None:
            try:
                withdraw(self._targets, self._target_name, self.address or "")
            except OSError as error:
                log.warning("metrics target %s stays in %s: %s", self._target_name, self._targets, error)
        server, thread = self._server
        self._server = None
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _writer(self, name: str, labels: dict[str, str]) -> Callable[[float], None]:
        row = METRICS.get(name)
        if row is None:
            raise ValueError(f"metric {name!r} is not in the catalogue; {_nearest(name, tuple(METRICS))}")
        if labels.keys() != row.labels.keys():
            given, wanted = ", ".join(labels) or "none", ", ".join(row.labels) or "none"
            raise ValueError(f"metric {name} has the labels: {wanted}; given: {given}")
        for label, allowed in row.labels.items():
            if allowed != OPEN and labels[label] not in allowed:
                near = _nearest(labels[label], allowed)
                raise ValueError(f"metric {name}: {label}={labels[label]!r} is not allowed; {near}")
        child = self._metrics[name].labels(**self._base, **labels)
        if isinstance(child, Gauge):
            return child.set
        if isinstance(child, Counter):
            return child.inc
        return child.observe

    def _serve(self, host: str, port: int) -> None:
        try:
            if not 0 <= port <= 65535:
                raise OSError(None, "not a port")
            server, thread = start_http_server(port, host, self.registry)
        except (OSError, UnicodeError) as first:
            try:
                server, thread = start_http_server(0, host, self.registry)
            except (OSError, UnicodeError) as error:  # the last: of a name that is none
                raise HostError(
                    f"metrics host {host!r} is not an address of this machine ({error}); "
                    "127.0.0.1 serves this machine only, 0.0.0.0 all networks"
                ) from error
            log.warning(
                "metrics port %d: %s; a free port is used instead", port, getattr(first, "strerror", first)
            )
        self._server = server, thread
        there = urlsplit(self._targets).hostname if isinstance(self._targets, str) else None
        address = announced(host, there) if there else announced(host)
        self.address = joined(address, server.server_port)
        log.info("metrics at http://%s/metrics", self.address)
        if self._targets is not None:
            try:
                publish(self._targets, self._target_name, self.address or "")
            except OSError as error:
                log.warning("metrics target %s not published in %s: %s", self.address, self._targets, error)


def _metric(row: Metric, registry: CollectorRegistry) -> Gauge | Counter | Histogram:
    labels = (*BASE_LABELS, *row.labels)
    if row.kind == "histogram":
        return Histogram(row.name, row.help, labels, registry=registry, buckets=row.buckets)
    kind = Gauge if row.kind == "gauge" else Counter
    return kind(row.name, row.help, labels, registry=registry)


def _nearest(word: str, allowed: tuple[str, ...]) -> str:
    close = get_close_matches(word, allowed, n=3, cutoff=0.5)
    return f"nearest: {', '.join(close)}" if close else f"allowed: {', '.join(allowed)}"
