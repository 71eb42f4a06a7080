import json
import socket
import urllib.request
from contextlib import nullcontext
from pathlib import Path

import pytest

from cluster import __main__, machines, ray_settings
from cluster.config import ClusterConfig, RayConfig, ScalingConfig
from data_shards.exits import exit_code
from monitoring.targets import publish
from trainer.overrides import resolve


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "cores", lambda: 4)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def cluster(*words: str) -> ClusterConfig:
    return resolve("demo", words, ClusterConfig)


@pytest.mark.parametrize(
    ("scaling", "embedded", "expected"),
    [
        (ScalingConfig(), True, 4),
        (ScalingConfig(num_workers=2), True, 2),
        (ScalingConfig(num_workers=(1, 4)), True, 1),
        (ScalingConfig(num_workers=9), True, 1),  # a laptop may rehearse more workers than it has cores
        (ScalingConfig(num_workers=9, cpus=3), True, 3),
        (ScalingConfig(num_workers=2), False, 1),
        (ScalingConfig(num_workers=2, cpus=8), False, 8),
    ],
)
def test_cores_are_shared_out_on_this_machine_only(
    scaling: ScalingConfig, embedded: bool, expected: int
) -> None:
    assert machines.worker_cpus(scaling, embedded=embedded) == expected


def test_the_address_given_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machines.given_address(cluster()) is None
    monkeypatch.setenv("RAY_ADDRESS", "a:1")  # as inside `ray job submit`
    assert machines.given_address(cluster()) == "a:1"
    assert machines.given_address(cluster("ray.address=b:2")) == "b:2"


def refused(*words: str) -> str:
    with pytest.raises(ValueError) as error, machines.connected(cluster(*words)):
        pass
    return str(error.value)


def test_too_little_here_is_said_before_ray_starts() -> None:
    assert "this machine has 4" in refused("scaling.num_workers=2", "scaling.cpus=3")
    assert "exist only on a cluster" in refused('scaling.resources={"fast_disk":1}')


def test_an_address_where_nothing_answers_is_said_at_once() -> None:
    with socket.socket() as taken:  # bound, not listening: nobody answers, and nobody else can take it
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}: nothing answers" in refused(f"ray.address=127.0.0.1:{port}")


def test_targets_are_served_where_they_are_asked_for() -> None:
    with machines.discovery(cluster()) as url:
        assert url is None
    # 192.0.2.1 is no address of this machine: what workers listen at is not what the targets are served at.
    words = ["monitoring.host=192.0.2.1", "ray.discovery_host=127.0.0.1", "ray.discovery_port=0"]
    with machines.discovery(cluster(*words)) as url:
        assert url is not None
        publish(url, "run-rank-0", "10.0.0.1:1")
        with urllib.request.urlopen(url, timeout=5) as response:
            assert json.load(response)[0]["targets"] == ["10.0.0.1:1"]
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=5)


def test_a_data_set_that_is_none_is_told_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("cluster.commands.train.connected", lambda config: pytest.fail("Ray was started"))
    (tmp_path / "manifest.json").write_text("[" * 1000)
    words = ["train", "demo", f"data.url={tmp_path}", f"output={tmp_path / 'run'}"]
    assert exit_code(lambda: __main__.main(words)) == 2
    assert capsys.readouterr().err.startswith(f"error: field data.url: {tmp_path}/manifest.json: is damaged")


def test_a_taken_discovery_port_is_a_sentence_before_ray_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machines, "connected", lambda config: pytest.fail("Ray was started"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["train", "demo", "data.url=/set", "output=/run", f"ray.discovery_port={port}"]
        assert exit_code(lambda: __main__.main(words)) == 2
    assert capsys.readouterr().err == (
        f"error: field ray.discovery_port: nothing can be served at 127.0.0.1:{port} (Address already in use); "
        "give another port, or an address of this machine as ray.discovery_host\n"
    )


@pytest.mark.parametrize(("word", "field"), [("data.url=some/set", "data.url"), ("output=runs/x", "output")])
def test_relative_paths_are_refused_on_a_cluster(word: str, field: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"ray.address=127.0.0.1:{server.getsockname()[1]}"
        said = refused("data.url=s3://b/set", "output=s3://b/run", address, word)
    assert said.startswith(f"field {field}: got ")
    assert "s3://bucket/prefix" in said


def test_settings_come_with_a_reason_and_yield_to_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    every = (*ray_settings.ALWAYS, *ray_settings.QUIET, *ray_settings.EMBEDDED)
    assert all(setting.reason for setting in every)
    environment: dict[str, str] = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "9"}
    monkeypatch.setattr("cluster.ray_settings.os.environ", environment)
    ray_settings.apply(RayConfig(start_timeout_s=20), embedded=True)
    assert environment["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] == "9"
    assert environment["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] == "20.0"
    assert environment["RAY_AUTH_MODE"] == "token"
    assert len(environment["RAY_AUTH_TOKEN"]) == 64
    assert environment["GLOO_SOCKET_IFNAME"] in [name for _, name in socket.if_nameindex()]


def test_a_given_ray_keeps_its_own_authentication(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr("cluster.ray_settings.os.environ", environment)
    ray_settings.apply(RayConfig(), embedded=False)
    assert not [name for name in environment if "AUTH" in name or "GLOO" in name]


@pytest.mark.parametrize("verbose", [False, True])
def test_what_ray_itself_says_is_for_those_who_ask(verbose: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr("cluster.ray_settings.os.environ", environment)
    ray_settings.apply(RayConfig(verbose=verbose), embedded=False)
    assert ("RAY_DEDUP_LOGS_SKIP_REGEX" in environment) is not verbose


def test_an_embedded_ray_joins_no_other_and_listens_here_only() -> None:
    arguments = ray_settings.init_arguments(RayConfig(), None, cpus=2)
    assert arguments["address"] == "local"
    assert arguments["_node_ip_address"] == "127.0.0.1"
    assert arguments["include_dashboard"] is True
    given = ray_settings.init_arguments(RayConfig(verbose=True), "h:1", cpus=2)
    assert given == {"address": "h:1", "logging_level": "info", "log_to_driver": True}


@pytest.mark.parametrize(
    ("late", "starts", "comes_up"), [(0, 1, True), (2, 3, True), (3, 3, False), (1, 1, False)]
)
def test_a_ray_that_is_late_is_started_once_more(
    late: int,
    starts: int,
    comes_up: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a busy machine it now and then takes longer than the 30 s that it gives itself."""
    tried: list[object] = []

    def init(**arguments: object) -> None:
        tried.append(arguments)
        if len(tried) <= late:
            raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr("ray.init", init)
    with nullcontext() if comes_up else pytest.raises(Exception, match="timed out"):
        machines._start({"address": "local"}, starts)
    assert tried == [{"address": "local"}] * (late + 1 if comes_up else starts)
    assert capsys.readouterr().err.count("once more") == len(tried) - 1


def test_another_mistake_of_ray_is_no_lateness(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**arguments: object) -> None:
        raise ValueError("no such word")

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(ValueError, match="no such word"):
        machines._start({}, 3)


def test_an_embedded_ray_has_a_short_folder_where_its_own_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp")
    with ray_settings.short_folder() as folder:
        assert folder is None
    long = tmp_path / ("x" * 72)  # enough for Ray, whose own names are long
    long.mkdir()
    for variable in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.setenv("TMPDIR", "/tmp")
        monkeypatch.setenv(variable, str(long))
        with ray_settings.short_folder() as folder:
            assert Path(folder).stat().st_mode & 0o777 == 0o700
            assert len(folder) < 24
            assert ray_settings.init_arguments(RayConfig(), None, 2, folder)["_temp_dir"] == folder
        assert not Path(folder).exists()
