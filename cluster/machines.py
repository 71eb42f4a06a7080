"""Connect to a Ray, or start one on this machine; how its cores are shared out; where its targets are served."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import psutil

from cluster import ray_settings
from data_shards.mistake import UserError
from monitoring.address import joined, parted
from monitoring.targets import TargetServer

if TYPE_CHECKING:  # a preflight has use for what is here, and none for the models that a config knows
    from cluster.config import ClusterConfig, ScalingConfig

NOT_TOLD = (":", "memory", "_group_")  # in names of resources that nobody asks for

_REACH_S = 10.0
_STARTS = 3
_LATE = "timed out during startup"  # what Ray says then
_GONE_S = 5.0  # for Ray's processes to end by themselves


def given_address(config: "ClusterConfig") -> str | None:
    """The Ray to join: the config's, or RAY_ADDRESS (which `ray job submit` sets), None = an embedded one."""
    return config.ray.address or os.environ.get("RAY_ADDRESS") or None


def worker_cpus(scaling: "ScalingConfig", *, embedded: bool) -> int:
    """Cores, and with them threads, of one worker."""
    if scaling.cpus is not None:
        return scaling.cpus
    return max(cores() // scaling.most, 1) if embedded else 1


def worker_resources(scaling: "ScalingConfig", *, embedded: bool) -> dict[str, float]:
    """What Ray sets aside for one worker, by name."""
    resources = {"CPU": float(worker_cpus(scaling, embedded=embedded)), **scaling.resources}
    return {**resources, "GPU": 1.0} if scaling.use_gpu else resources


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def connected(config: "ClusterConfig", at_once: int = 1) -> Iterator[bool]:
    """Within the context, this process is a driver of Ray; yields whether that Ray is embedded.

    Args:
        config: of a run, whose workers an embedded Ray has room for.
        at_once: so many such runs.

    Raises:
        UserError: nothing answers at the address, or this machine has too little for the workers.
    """
    address = given_address(config)
    embedded = address is None
    if address is None:
        _fits_here(config.scaling)
    else:
        _reachable(address)
        require_paths_everywhere(config)
    ray_settings.apply(config.ray, embedded=embedded)
    with (
        ray_settings.short_folder() if embedded else nullcontext() as folder,
        _ray(config, address, folder, at_once),
    ):
        yield embedded


@contextmanager
def _ray(config: "ClusterConfig", address: str | None, folder: str | None, at_once: int) -> Iterator[None]:
    """Ray is initialised within, with its files in `folder`."""
    import ray

    embedded, scaling = address is None, config.scaling
    # More workers than cores are slow, but a laptop may rehearse them.
    cpus = max(cores(), at_once * scaling.most * worker_cpus(scaling, embedded=True))
    try:
        heeding = signal.getsignal(signal.SIGTERM)
        _start(ray_settings.init_arguments(config.ray, address, cpus, folder), _STARTS if embedded else 1)
        signal.signal(signal.SIGTERM, heeding)  # Ray has put a handler of its own there
        yield
    except (ConnectionError, ray.exceptions.RayError) as error:
        if ray.is_initialized():
            raise
        raise UserError(f"ray address {address}: {str(error).splitlines()[0]}") from None
    except SystemExit:  # by that handler
        raise KeyboardInterrupt from None
    finally:
        _end(psutil.Process().children(recursive=True) if embedded else [])


def _start(arguments: dict[str, Any], starts: int) -> None:
    """`ray.init`; again, where a Ray of this machine was not there within the 30 s that Ray itself gives it.

    A busy or a slow machine takes longer now and then, and nothing was lost yet.
    """
    import ray

    before = set(psutil.Process().children(recursive=True))
    for left in reversed(range(starts)):
        try:
            ray.init(**arguments)
        except Exception as error:  # Ray has no type for it
            if not left or _LATE not in str(error):
                raise
            print("note: Ray did not come up in time; it is started once more", file=sys.stderr)
            _end([p for p in psutil.Process().children(recursive=True) if p not in before])
        else:
            return


def _end(started: list[psutil.Process]) -> None:
    """Shut Ray down, and these processes that it has started."""
    import ray

    ray.shutdown()
    # Ray's agents outlive it by a minute where it is stopped while they start.
    for process in psutil.wait_procs(started, _GONE_S)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def discovery(config: "ClusterConfig") -> Iterator[str | None]:
    """The URL of Prometheus' targets, where the user wants it served.

    Raises:
        UserError: it cannot be served there.
    """
    port, host = config.ray.discovery_port, config.ray.discovery_host or config.monitoring.host
    if port is None:
        yield None
        return
    try:
        server = TargetServer(host, port)
    except (OSError, UnicodeError) as error:  # the last: of a name that is none
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"field ray.discovery_port: nothing can be served at {joined(host, port)} ({reason}); give another port, "
            "or an address of this machine as ray.discovery_host"
        ) from None
    with closing(server):
        yield server.url


def require_paths_everywhere(config: "ClusterConfig") -> None:
    """UserError where a path is relative: on a cluster that is another folder on each machine."""
    for field, path in (("data.url", config.data.url), ("output", config.output)):
        if "://" not in path and not os.path.isabs(path):
            raise UserError(
                f"field {field}: got {path!r}, a folder of one machine; on a cluster give s3://bucket/prefix, or the "
                "absolute path of a folder that all machines share"
            )


def cluster_resources() -> dict[str, float]:
    """What the connected Ray has in all, by name; memory, and the names of nodes and of claims, are left out."""
    import ray

    everything: dict[str, float] = ray.cluster_resources()
    return {
        name: everything[name] for name in sorted(everything) if not any(part in name for part in NOT_TOLD)
    }


def dead_nodes() -> set[str]:
    """Ray's numbers of the machines that have left the connected cluster."""
    import ray

    return {node["NodeID"] for node in ray.nodes() if not node["Alive"]}


def has_placed(workers: int) -> bool:
    """Whether Ray has set aside room for a group of at least so many, processes or not."""
    import ray

    groups = ray.util.placement_group_table().values()
    return any(each["state"] == "CREATED" and len(each["bundles"]) >= workers for each in groups)


def _fits_here(scaling: "ScalingConfig") -> None:
    wanted = scaling.least * (scaling.cpus or 0)
    if wanted > cores():
        raise UserError(
            f"field scaling.cpus: {scaling.least} workers of {scaling.cpus} cores need {wanted}, this machine has "
            f"{cores()}; leave scaling.cpus out to share them, or give --address of a cluster"
        )
    if scaling.resources:
        raise UserError(
            f"field scaling.resources: {sorted(scaling.resources)} exist only on a cluster; give --address"
        )


def _reachable(address: str) -> None:
    """Ray itself would try for minutes."""
    host, port = parted(address.removeprefix("ray://"))
    if not port:
        return  # "auto" and names
    try:
        socket.create_connection((host, int(port)), _REACH_S).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"ray address {address}: nothing answers there ({error}); is `ray start --head` running?"
        ) from None
