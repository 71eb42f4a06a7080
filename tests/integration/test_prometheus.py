"""A real Prometheus finds every rank by its target file and sees every row of the catalogue."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from monitoring.catalogue import METRICS, Metric
from tests.conftest import require
from tests.integration.test_cluster import Job
from trainer.journal import run_name

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(400)]

OF_OTHER_MODELS = ("commonfate_slot_found_later",)  # the demo's says nothing of when an object came

EXPORTER = """
import sys, time
from pathlib import Path
from monitoring.catalogue import METRICS
from monitoring.exporter import Exporter

with Exporter("pair", int(sys.argv[1]), 0, Path(sys.argv[2])) as exporter:
    for row in METRICS.values():
        for values in [dict()] if not row.labels else [
            {label: (allowed or ("any",))[index % len(allowed or ("any",))] for label, allowed in row.labels.items()}
            for index in range(max(len(allowed) for allowed in row.labels.values()) or 1)
        ]:
            exporter.observe(row.name, 1.0, **values)
    sys.stdin.read()  # until the test closes it
"""


class Prometheus:
    """A server that reads the target files of `folder`. A context manager."""

    def __init__(self, folder: Path, home: Path) -> None:
        home.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {
                    "job_name": "commonfate",
                    "file_sd_configs": [{"files": [f"{folder}/*.json"], "refresh_interval": "1s"}],
                }
            ],
        }
        (home / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        with (home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={home / 'prometheus.yml'}",
                    f"--storage.tsdb.path={home / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> "Prometheus":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def query(self, expression: str) -> list[dict[str, str]]:
        """Labels of the series that `expression` selects now; empty while the server starts."""
        url = f"{self._url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return [series["metric"] for series in json.load(response)["data"]["result"]]
        except OSError:
            return []

    def missing(
        self, run: str, timeout: float, rows: Collection[Metric] = METRICS.values()
    ) -> set[tuple[str, str]]:
        """(series, rank) of `rows` that two ranks have still not shown after `timeout` seconds."""
        ranks = {"every": ("0", "1"), "first": ("0",)}
        wanted = {(name, rank) for row in rows for name in names(row) for rank in ranks[row.ranks]}
        deadline = time.monotonic() + timeout
        while wanted and time.monotonic() < deadline:
            found = self.query(f'{{__name__=~"commonfate_.+", run="{run}"}}')
            wanted -= {(series["__name__"], series["rank"]) for series in found}
            time.sleep(0.5)
        return wanted


def names(row: Metric) -> list[str]:
    """The series that Prometheus makes of a row."""
    suffixes = ("_bucket", "_count", "_sum") if row.kind == "histogram" else ("",)
    return [row.name + suffix for suffix in suffixes]


@pytest.fixture(autouse=True)
def _installed() -> None:
    require("prometheus")


@pytest.fixture
def exporters(tmp_path: Path) -> Iterator[Path]:
    """The folder of targets of two processes that observe every row once."""
    targets = tmp_path / "targets"
    processes = [
        subprocess.Popen([sys.executable, "-c", EXPORTER, str(rank), str(targets)], stdin=subprocess.PIPE)
        for rank in (0, 1)
    ]
    yield targets
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
    assert list(targets.iterdir()) == []  # withdrawn


def test_every_row_of_two_processes_is_scraped(exporters: Path, tmp_path: Path) -> None:
    with Prometheus(exporters, tmp_path / "prometheus") as prometheus:
        assert prometheus.missing("pair", timeout=60) == set()
        # Every allowed value of every label with a fixed set arrived, and nothing else did.
        for row in METRICS.values():
            for label, allowed in row.labels.items():
                found = {series[label] for series in prometheus.query(names(row)[0])}
                assert found == set(allowed or ("any",)), row.name
        stray = {series["__name__"] for series in prometheus.query('{__name__=~"commonfate_.+"}')}
        assert stray == {name for row in METRICS.values() for name in names(row)}


def test_every_row_of_a_run_on_two_workers_is_scraped(tiny_set: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [
        f"data.url={tiny_set}",
        "steps=1000000",
        "scaling.num_workers=2",
        "evaluation.steps=20",
        "engine.hash_steps=10",
        "checkpoint.steps=20",
        "monitoring.port=0",
        "log_steps=5",
    ]
    with Prometheus(run / "targets", tmp_path / "prometheus") as prometheus, Job(run, words) as job:
        rows = [row for row in METRICS.values() if row.name not in OF_OTHER_MODELS]
        missing = prometheus.missing(run_name(str(run)), 150, rows)
        job.process.send_signal(signal.SIGINT)
        assert missing == set(), job.said()
        assert job.wait() == 130, job.said()
        assert list((run / "targets").iterdir()) == []
