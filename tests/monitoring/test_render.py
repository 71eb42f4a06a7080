"""python -m monitoring render: files that belong together, whole or not there, bound to this machine alone."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring import __main__
from monitoring.installation import (
    FILES,
    GRAFANA_PORT,
    PROMETHEUS_PORT,
    Installation,
    compose,
    dashboard_folders,
    data_sources,
    prometheus_config,
    ray_settings,
)
from monitoring.targets import target_name
from tests.conftest import require


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    pytest.importorskip("grafana_foundation_sdk", reason="Grafana's builders are not installed: make setup")
    assert __main__.main(["render", str(tmp_path / "deep" / "dir")]) == 0
    return tmp_path / "deep" / "dir"


def test_all_files_are_written_and_told(capsys: pytest.CaptureFixture[str], rendered: Path) -> None:
    assert capsys.readouterr().out.split() == [str(rendered / name) for name in FILES]
    there = {str(file.relative_to(rendered)) for file in rendered.rglob("*") if file.is_file()}
    assert there == set(FILES)
    for name in FILES:
        text = (rendered / name).read_text()
        if name.endswith(".json"):
            json.loads(text)
        elif name.endswith((".yml", ".yaml")):
            yaml.safe_load(text)
    assert (rendered / "targets").is_dir()


def test_rendering_again_replaces_our_files_and_leaves_others(rendered: Path) -> None:
    (rendered / "mine.txt").write_text("mine")
    (rendered / "compose.yaml").write_text("edited")
    before = {name: (rendered / name).read_text() for name in FILES if name != "compose.yaml"}
    assert __main__.main(["render", str(rendered)]) == 0
    assert {name: (rendered / name).read_text() for name in before} == before
    assert yaml.safe_load((rendered / "compose.yaml").read_text()) == compose(Installation())
    assert (rendered / "mine.txt").read_text() == "mine"


def test_nothing_is_written_where_a_file_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Installation) -> str:
        raise RuntimeError("broken")

    files = {"README.md": lambda _: "x", "last": broken}
    monkeypatch.setattr("monitoring.render.FILES", files)
    with pytest.raises(RuntimeError):
        __main__.main(["render", str(tmp_path / "dir")])
    assert not (tmp_path / "dir").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--scrape", "0"], "argument --scrape: got '0', needs 1 to 300"),
        (["--targets", "ftp://host"], "argument --targets: got 'ftp://host', needs a folder or http://"),
        (["--targets", "runs/*/targets"], "takes no pattern of folders"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        __main__.main(["render", str(tmp_path / "dir"), *words])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "dir").exists()


def test_a_file_in_the_way_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.render.FILES", {"README.md": lambda _: "x"})
    (tmp_path / "dir").write_text("a file")
    assert __main__.main(["render", str(tmp_path / "dir")]) == 2
    assert str(tmp_path / "dir") in capsys.readouterr().err


def test_ranks_are_found_in_folders_and_at_drivers() -> None:
    config = prometheus_config(
        Installation(("/runs/a/targets",), ("http://host:9399/targets",), 7, "/tmp/ray")
    )
    ranks, ray = config["scrape_configs"]
    (files,) = ranks["file_sd_configs"]
    assert files == {"files": ["../targets/*.json", "/runs/a/targets/*.json"], "refresh_interval": "7s"}
    assert [found["url"] for found in ranks["http_sd_configs"]] == ["http://host:9399/targets"]
    assert ray["file_sd_configs"] == [{"files": ["/tmp/ray/prom_metrics_service_discovery.json"]}]
    assert config["global"]["scrape_interval"] == "7s"
    assert len(prometheus_config(Installation())["scrape_configs"]) == 1


def test_a_target_says_whose_it_is_by_the_name_of_its_file() -> None:
    import re

    rules = prometheus_config(Installation())["scrape_configs"][0]["relabel_configs"]
    path = f"/x/targets/{target_name('a-rank-b-c0ffee', 12)}.json"
    found = {}
    for rule in rules:
        match = re.fullmatch(rule["regex"], path)
        found[rule["target_label"]] = match.expand(rule["replacement"].replace("$", "\\"))
    assert found == {"run": "a-rank-b-c0ffee", "rank": "12"}


def test_both_servers_listen_on_this_machine_alone_and_agree_on_where() -> None:
    services: Any = compose(Installation(ray="/tmp/ray"))["services"]
    assert f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}" in services["prometheus"]["command"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_PORT"] == str(GRAFANA_PORT)
    assert all("ports" not in service for service in services.values())
    (source,) = data_sources(Installation())["datasources"]
    assert source["url"] == f"http://127.0.0.1:{PROMETHEUS_PORT}"
    settings = dict(line.split("=") for line in ray_settings(Installation()).splitlines()[1:])
    assert settings["RAY_PROMETHEUS_NAME"] == source["name"]
    assert settings["RAY_PROMETHEUS_HOST"] == source["url"]


def test_every_folder_that_a_container_reads_is_given_to_it() -> None:
    made = Installation(folders=("/runs/a/targets",), ray="/tmp/ray")
    services: Any = compose(made)["services"]
    inside = {name: [v.split(":")[1] for v in services[name]["volumes"]] for name in services}
    for provider in dashboard_folders(made)["providers"]:
        assert any(provider["options"]["path"].startswith(place) for place in inside["grafana"])
    for config in prometheus_config(made)["scrape_configs"]:
        for name in config["file_sd_configs"][0]["files"]:
            path = name.replace("..", "/etc")
            assert any(path.startswith(place) for place in inside["prometheus"]), name
    host = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    assert {place for place in host if place.startswith("./")} == {
        *("./prometheus", "./targets", "./grafana/provisioning", "./grafana/dashboards")
    }


@pytest.mark.service
def test_prometheus_accepts_the_config(rendered: Path) -> None:
    require("promtool")
    command = ["promtool", "check", "config", str(rendered / "prometheus" / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
