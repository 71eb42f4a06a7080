"""Connect to a Ray, or start one on this machine; how its cores are shared out."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from cluster import ray_settings
from cluster.config import ClusterConfig, ScalingConfig

_REACH_S = 10.0


def given_address(config: ClusterConfig) -> str | None:
    """The Ray to join: the config's, or RAY_ADDRESS (which `ray job submit` sets), None = an embedded one."""
    return config.ray.address or os.environ.get("RAY_ADDRESS") or None


def worker_cpus(scaling: ScalingConfig, *, embedded: bool) -> int:
    """Cores, and with them threads, of one worker."""
    if scaling.cpus is not None:
        return scaling.cpus
    return max(cores() // scaling.most, 1) if embedded else 1


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def connected(config: ClusterConfig) -> Iterator[bool]:
    """Within the context, this process is a driver of Ray; yields whether that Ray is embedded.

    Raises:
        ValueError: nothing answers at the address, or this machine has too little for the workers.
    """
    address = given_address(config)
    embedded = address is None
    if address is None:
        _fits_here(config.scaling)
    else:
        _reachable(address)
        _paths_everywhere(config)
    ray_settings.apply(config.ray, embedded=embedded)
    import ray

    scaling = config.scaling
    # More workers than cores are slow, but a laptop may rehearse them.
    cpus = max(cores(), scaling.most * worker_cpus(scaling, embedded=True))
    try:
        ray.init(**ray_settings.init_arguments(config.ray, address, cpus))
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise ValueError(f"ray address {address}: {str(error).splitlines()[0]}") from None
    try:
        yield embedded
    finally:
        ray.shutdown()


def cluster_resources() -> dict[str, float]:
    """What the connected Ray has in all, by name; memory and the names of its nodes are left out."""
    import ray

    everything: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return {name: everything[name] for name in sorted(everything) if ":" not in name and "memory" not in name}


def _fits_here(scaling: ScalingConfig) -> None:
    wanted = scaling.least * (scaling.cpus or 0)
    if wanted > cores():
        raise ValueError(
            f"field scaling.cpus: {scaling.least} workers of {scaling.cpus} cores need {wanted}, this machine has "
            f"{cores()}; leave scaling.cpus out to share them, or give --address of a cluster"
        )
    if scaling.resources:
        raise ValueError(
            f"field scaling.resources: {sorted(scaling.resources)} exist only on a cluster; give --address"
        )


def _reachable(address: str) -> None:
    """Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return  # "auto" and names
    try:
        socket.create_connection((host, int(port)), _REACH_S).close()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"ray address {address}: nothing answers there ({error}); is `ray start --head` running?"
        ) from None


def _paths_everywhere(config: ClusterConfig) -> None:
    """On a cluster a relative path means another folder on each machine."""
    for field, path in (("data.url", config.data.url), ("output", config.output)):
        if "://" not in path and not os.path.isabs(path):
            raise ValueError(
                f"field {field}: got {path!r}, a folder of one machine; on a cluster give s3://bucket/prefix, or the "
                "absolute path of a folder that all machines share"
            )
