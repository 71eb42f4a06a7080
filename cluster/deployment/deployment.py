"""Deployment: the one source of what is rendered: a run, its image, and how much of what its machines have."""

import math
import re
from dataclasses import dataclass

from cluster.config import ClusterConfig
from cluster.preflight.driver import save_seconds
from cluster.preflight.planning import plan_of
from data_shards.mistake import UserError
from trainer.config import MonitoringConfig

METRICS_PORT = 9400  # of rank 0; rank r listens on 9400 + r
TARGETS_PORT = 9399  # where the driver tells Prometheus which ranks there are
_FAREWELL_S = 60  # at least: clouds give 30 to 120 s
_ROOM_GIB = 10  # for Ray's own logs beside two states
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class Deployment:
    """Of a run.

    Attributes:
        name: of the run's job and cluster: small letters, digits and hyphens.
        image: that all machines run, built by the rendered Dockerfile.
        words: those after `python -m cluster train`.
        workers: the least and the most.
        cpus: cores of a worker.
        gpus: GPUs of a worker, 0 or 1.
        resources: what else Ray sets aside for a worker, by name.
        memory_gib: memory of a worker's machine.
        scratch_gib: of the folder of temporary files of a machine.
        grace_s: seconds from SIGTERM to SIGKILL: a save and a farewell.
        secret: name of the Secret with the store's keys, as variables.
    """

    name: str
    image: str
    words: tuple[str, ...]
    workers: tuple[int, int]
    cpus: int
    gpus: int
    resources: dict[str, float]
    memory_gib: int
    scratch_gib: int
    grace_s: int
    secret: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UserError(
                f"--name: got {self.name!r}, needs at most 40 small letters, digits and hyphens, a letter first"
            )


def deployment_of(
    config: ClusterConfig, words: tuple[str, ...], *, name: str, image: str, memory_gib: int, secret: str
) -> Deployment:
    """What a run needs of its machines, from its config; the metrics of all ranks can then be reached from outside.

    Raises:
        UserError: the name is none of Kubernetes'.
    """
    plan = plan_of(config)
    served = config.monitoring
    if served == MonitoringConfig():
        words += ("monitoring.host=0.0.0.0", f"monitoring.port={METRICS_PORT}")
    if config.ray.discovery_port is None and served.port is not None:
        words += (f"ray.discovery_port={TARGETS_PORT}", "ray.discovery_host=0.0.0.0")
    return Deployment(
        name=name,
        image=image,
        words=words,
        workers=(config.scaling.least, config.scaling.most),
        cpus=int(plan.worker["CPU"]),
        gpus=int(plan.worker.get("GPU", 0)),
        resources=dict(config.scaling.resources),
        memory_gib=memory_gib,
        scratch_gib=math.ceil(2 * plan.state_bytes / 2**30) + _ROOM_GIB,
        grace_s=max(math.ceil(save_seconds(plan.state_bytes)), _FAREWELL_S),
        secret=secret,
    )
