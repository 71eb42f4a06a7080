import json
import logging
import re
import time
import urllib.request
from pathlib import Path

import pytest

from monitoring.catalogue import METRICS
from monitoring.exporter import Exporter
from monitoring.run_state import RunState
from monitoring.targets import TargetServer


def scrape(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as response:
        return str(response.read().decode())


def value(exporter: Exporter, name: str, **labels: str) -> float | None:
    return exporter.registry.get_sample_value(name, {"run": "r", "rank": "3", **labels})


@pytest.fixture
def exporter() -> Exporter:
    return Exporter("r", 3, None, None)


def test_kinds_record_as_prometheus_defines_them(exporter: Exporter) -> None:
    for number in (2.0, 5.0):
        exporter.observe("commonfate_loss", number)
        exporter.observe("commonfate_samples_total", number)
        exporter.observe("commonfate_step_seconds", number)
    assert value(exporter, "commonfate_loss") == 5.0
    assert value(exporter, "commonfate_samples_total") == 7.0
    assert value(exporter, "commonfate_step_seconds_sum") == 7.0
    assert value(exporter, "commonfate_step_seconds_bucket", le="2.0") == 1.0


def test_label_values_are_separate_series(exporter: Exporter) -> None:
    exporter.observe("commonfate_loss_term", 1.0, term="a")
    exporter.observe("commonfate_evaluation_score", 2.0, score="psnr", split="val")
    exporter.observe("commonfate_evaluation_score", 3.0, split="val", score="ssim")
    assert value(exporter, "commonfate_loss_term", term="a") == 1.0
    assert value(exporter, "commonfate_evaluation_score", score="psnr", split="val") == 2.0
    assert value(exporter, "commonfate_evaluation_score", score="ssim", split="val") == 3.0


def test_counters_start_at_zero_and_gauges_unknown(exporter: Exporter) -> None:
    assert value(exporter, "commonfate_loader_retries_total") == 0.0
    assert value(exporter, "commonfate_loss") is None


def test_exactly_one_state_is_on(exporter: Exporter) -> None:
    exporter.enter(RunState.SAVING)
    exporter.enter(RunState.TRAINING)
    states = {s: value(exporter, "commonfate_run_state", state=s) for s in RunState}
    assert states == {s: float(s == "training") for s in RunState}


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("commonfate_los", {}, "nearest: commonfate_loss"),
        ("commonfate_loss", {"term": "x"}, "labels: none; given: term"),
        ("commonfate_loss_term", {}, "labels: term; given: none"),
        ("commonfate_step_phase_seconds", {"phase": "optimizer"}, "nearest: optimiser"),
        ("commonfate_checkpoint_save_seconds", {"part": "zzz"}, "allowed: stall, total"),
    ],
)
def test_a_word_outside_the_catalogue_names_the_nearest(
    exporter: Exporter, name: str, labels: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        exporter.observe(name, 1.0, **labels)


def test_a_counter_cannot_fall(exporter: Exporter) -> None:
    with pytest.raises(ValueError):
        exporter.observe("commonfate_samples_total", -1.0)


def test_serves_every_family_and_withdraws_its_target(tmp_path: Path) -> None:
    with Exporter("r/1", 0, 0, tmp_path) as exporter:
        assert exporter.address is not None
        (file,) = tmp_path.glob("*.json")
        assert json.loads(file.read_text()) == [{"targets": [exporter.address], "labels": {}}]
        assert list(tmp_path.iterdir()) == [file]  # no unfinished file is left
        text = scrape(exporter.address)
        families = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
        assert families == set(METRICS)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError):
        scrape(exporter.address)
    exporter.close()  # twice is harmless
    exporter.observe("commonfate_loss", 1.0)  # and the record goes on


def test_two_ranks_of_one_process_do_not_mix() -> None:
    with Exporter("r", 0, 0, None) as first, Exporter("r", 1, 0, None) as second:
        first.observe("commonfate_loss", 1.0)
        second.observe("commonfate_loss", 2.0)
        assert first.address is not None
        assert second.address is not None
        assert 'commonfate_loss{rank="0",run="r"} 1.0' in scrape(first.address)
        assert 'commonfate_loss{rank="1",run="r"} 2.0' in scrape(second.address)


def test_a_taken_port_is_replaced_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with Exporter("r", 0, 0, None) as first:
        assert first.address is not None
        port = int(first.address.split(":")[1])
        with caplog.at_level(logging.WARNING), Exporter("r", 1, port, None) as second:
            assert second.address is not None
            assert second.address != first.address
            assert f"metrics port {port}" in caplog.text
            scrape(second.address)


def test_a_port_that_does_not_exist_is_replaced_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with Exporter(
        "r", 536, 65536, None
    ) as exporter:  # the ports of ranks are counted up from the first one's
        assert "metrics port 65536: not a port; a free port is used instead" in caplog.text
        assert exporter.address is not None
        scrape(exporter.address)


def test_a_foreign_host_is_refused() -> None:
    with pytest.raises(ValueError, match="not an address of this machine"):
        Exporter("r", 0, 0, None, host="192.0.2.1")


def test_a_folder_that_cannot_be_written_only_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with Exporter("r", 0, 0, tmp_path / "file"):
        assert "not published" in caplog.text


def test_ranks_of_several_hosts_announce_themselves_over_http() -> None:
    server = TargetServer()
    try:
        with Exporter("r", 0, 0, server.url) as first, Exporter("r", 1, 0, server.url) as second:
            assert listed(server) == [first.address, second.address]
        assert listed(server) == []
    finally:
        server.close()
    with Exporter("r", 0, 0, server.url):  # nobody listens there any more: the run goes on
        pass


def test_an_open_host_is_announced_as_seen_from_the_server_of_targets() -> None:
    server = TargetServer()
    try:
        with Exporter("r", 0, 0, server.url, host="0.0.0.0") as exporter:
            assert exporter.address is not None
            assert exporter.address.startswith("127.0.0.1:")
            assert listed(server) == [exporter.address]
    finally:
        server.close()


def listed(server: TargetServer) -> list[str]:
    with urllib.request.urlopen(server.url, timeout=5) as response:
        return [target for entry in json.load(response) for target in entry["targets"]]


def test_observing_costs_little() -> None:
    exporter = Exporter("r", 0, None, None)
    best = {"loss": 1.0, "phase": 1.0}
    for _ in range(50):  # the best of fifty: other processes share the core
        start = time.perf_counter()
        for _ in range(200):
            exporter.observe("commonfate_loss", 1.0)
        best["loss"] = min(best["loss"], (time.perf_counter() - start) / 200)
        start = time.perf_counter()
        for _ in range(200):
            exporter.observe("commonfate_step_phase_seconds", 0.1, phase="data")
        best["phase"] = min(best["phase"], (time.perf_counter() - start) / 200)
    assert max(best.values()) < 5e-6
