"""FILES: a Prometheus and a Grafana for runs, as files: one source, a function for each. `python -m monitoring render`.

Both listen on this machine alone, and share its network: so they reach ranks that do the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from monitoring.dashboards.boards import BOARDS, Board
from monitoring.rules.alerts import ALERTS
from monitoring.rules.recordings import RECORDINGS
from monitoring.rules.rule import rules_tree

PROMETHEUS_PORT, GRAFANA_PORT = 9090, 3000
TARGETS = "targets"  # a folder beside the files, for the ranks of any run

_PROMETHEUS, _GRAFANA = "prom/prometheus:v2.53.5", "grafana/grafana:11.6.0"


@dataclass(frozen=True)
class Installation:
    """What the files are made of.

    Attributes:
        folders: of target files beside the one that comes with the files, as absolute paths.
        urls: of servers of targets, which the drivers of runs on several hosts are.
        scrape_s: seconds from one look at a rank to the next.
        ray: the folder of Ray's sessions, as an absolute path, whose metrics and dashboards are shown too; "" = none.
    """

    folders: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    scrape_s: int = 5
    ray: str = ""


def prometheus_config(installation: Installation) -> dict[str, Any]:
    """Prometheus' settings: where ranks are found, and beside them Ray. Paths are relative to its file."""
    every = f"{installation.scrape_s}s"
    folders = (f"../{TARGETS}", *installation.folders)
    ranks: dict[str, Any] = {
        "job_name": "commonfate",
        "honor_labels": True,  # run and rank are the series' own
        "file_sd_configs": [{"files": [f"{folder}/*.json" for folder in folders], "refresh_interval": every}],
        # The name of a target's file says whose it is, also while nothing answers there.
        "relabel_configs": [
            {
                "source_labels": ["__meta_filepath"],
                "regex": r".*/(.+)-rank-(\d+)\.json",
                "target_label": label,
                "replacement": replacement,
            }
            for label, replacement in (("run", "$1"), ("rank", "$2"))
        ],
    }
    if installation.urls:
        ranks["http_sd_configs"] = [{"url": url, "refresh_interval": every} for url in installation.urls]
    ray = {
        "job_name": "ray",
        "file_sd_configs": [{"files": [f"{installation.ray}/prom_metrics_service_discovery.json"]}],
    }
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": ["rules.yml"],
        "scrape_configs": [ranks, ray] if installation.ray else [ranks],
    }


def compose(installation: Installation) -> dict[str, Any]:
    """The two servers as containers: on the machine's own network, bound to it alone, with disks that stay."""
    shown = [f"{folder}:{folder}:ro" for folder in installation.folders]
    # The whole folder at its own place: its newest session is a link.
    ray = [f"{installation.ray}:{installation.ray}:ro"] if installation.ray else []
    prometheus = {
        "image": _PROMETHEUS,
        "network_mode": "host",
        "command": [
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=90d",
            f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}",
        ],
        "volumes": [
            "./prometheus:/etc/prometheus:ro",
            f"./{TARGETS}:/etc/{TARGETS}:ro",
            "prometheus:/prometheus",
            *shown,
            *ray,
        ],
        "restart": "unless-stopped",
    }
    grafana = {
        "image": _GRAFANA,
        "network_mode": "host",
        "environment": {
            "GF_SERVER_HTTP_ADDR": "127.0.0.1",
            "GF_SERVER_HTTP_PORT": str(GRAFANA_PORT),
            # Whoever reaches the port may look; to change something takes the password.
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
            "GF_SECURITY_ADMIN_PASSWORD": "${GRAFANA_PASSWORD:?choose one}",
            "GF_SECURITY_ALLOW_EMBEDDING": "true",  # Ray's dashboard shows panels of Grafana
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": f"/dashboards/{BOARDS[0].uid}.json",
        },
        "volumes": [
            "./grafana/provisioning:/etc/grafana/provisioning:ro",
            "./grafana/dashboards:/dashboards:ro",
            "grafana:/var/lib/grafana",
            *ray,
        ],
        "restart": "unless-stopped",
    }
    return {
        "services": {"prometheus": prometheus, "grafana": grafana},
        "volumes": {"prometheus": {}, "grafana": {}},
    }


def data_sources(installation: Installation) -> dict[str, Any]:
    """Grafana's provisioning: the one Prometheus."""
    source = {
        "name": "Prometheus",
        "type": "prometheus",
        "uid": "prometheus",
        "url": f"http://127.0.0.1:{PROMETHEUS_PORT}",
        "access": "proxy",
        "isDefault": True,
        # $__rate_interval is at least four of these.
        "jsonData": {"timeInterval": f"{installation.scrape_s}s"},
    }
    return {"apiVersion": 1, "datasources": [source]}


def dashboard_folders(installation: Installation) -> dict[str, Any]:
    """Grafana's provisioning: the folders of dashboards, ours and Ray's."""
    folders = {"Commonfate": "/dashboards"}
    if installation.ray:
        folders["Ray"] = f"{installation.ray}/session_latest/metrics/grafana/dashboards"
    providers = [
        {"name": name, "folder": name, "type": "file", "options": {"path": path}}
        for name, path in folders.items()
    ]
    return {"apiVersion": 1, "providers": providers}


def ray_settings(installation: Installation) -> str:
    """Variables with which Ray's dashboard shows panels of this Grafana."""
    return f"""\
# export $(grep -v '^#' ray.env) before `ray start --head`, or before `python -m cluster train`.
RAY_PROMETHEUS_HOST=http://127.0.0.1:{PROMETHEUS_PORT}
RAY_PROMETHEUS_NAME=Prometheus
RAY_GRAFANA_HOST=http://127.0.0.1:{GRAFANA_PORT}
"""


def usage(installation: Installation) -> str:
    """What to type."""
    boards = "\n".join(f"- {board.title}: {board.help}" for board in BOARDS)
    return f"""\
# Prometheus and Grafana for Commonfate

Rendered by `python -m monitoring render`; render again instead of editing.

    GRAFANA_PASSWORD=... docker compose up -d
    python -m cluster train RECIPE ... monitoring.targets=$PWD/{TARGETS}

Grafana is at http://127.0.0.1:{GRAFANA_PORT}, Prometheus at http://127.0.0.1:{PROMETHEUS_PORT}: on this machine alone.

{boards}
"""


def dashboard(board: Board) -> str:
    """Grafana's JSON of a board."""
    # With it come the builders of Grafana, of which --help needs none.
    from monitoring.dashboards.grafana import dashboard_json

    return dashboard_json(board)


def as_yaml(tree: object) -> str:
    """Fields in the order they were written in."""
    text: str = yaml.safe_dump(tree, sort_keys=False, width=120)
    return text


FILES: Mapping[str, Callable[[Installation], str]] = {
    "README.md": usage,
    "compose.yaml": lambda made: as_yaml(compose(made)),
    "ray.env": ray_settings,
    "prometheus/prometheus.yml": lambda made: as_yaml(prometheus_config(made)),
    "prometheus/rules.yml": lambda _: as_yaml(rules_tree(RECORDINGS, ALERTS)),
    "grafana/provisioning/datasources/prometheus.yml": lambda made: as_yaml(data_sources(made)),
    "grafana/provisioning/dashboards/folders.yml": lambda made: as_yaml(dashboard_folders(made)),
} | {f"grafana/dashboards/{board.uid}.json": lambda _, board=board: dashboard(board) for board in BOARDS}
