"""FILES: what is rendered, by name. One more is a function of a Deployment and a row."""

import json
from collections.abc import Callable
from typing import Any

import yaml

from cluster.deployment import kubernetes, scripts
from cluster.deployment.deployment import Deployment


def as_yaml(*documents: Any) -> str:
    """YAML documents one after the other, fields in the order they were written in."""
    # Parts that come twice are written twice, not named and referred to.
    apart = [json.loads(json.dumps(document)) for document in documents]
    text: str = yaml.safe_dump_all(apart, sort_keys=False, width=120)
    return text


FILES: dict[str, Callable[[Deployment], str]] = {
    "README.md": scripts.usage,
    "Dockerfile": scripts.dockerfile,
    "rayjob.yaml": lambda deployment: as_yaml(kubernetes.ray_job(deployment)),
    "raycluster.yaml": lambda deployment: as_yaml(kubernetes.ray_cluster(deployment)),
    "monitoring.yaml": lambda deployment: as_yaml(*kubernetes.monitoring(deployment)),
    "slurm.sh": scripts.slurm,
    "cloud.yaml": lambda deployment: as_yaml(scripts.cloud(deployment)),
}
