"""Every setting of Ray that differs from its default, with the reason. The one place: nobody else sets RAY_*."""

import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data_shards.sockets import socket_folder

if TYPE_CHECKING:  # a preflight has use for the settings, and none for the models that a config knows
    from cluster.config import RayConfig

_SOCKET = "/ray/session_2026-11-22_23-59-59_123456_1234567/sockets/plasma_store.1"  # the longest of Ray


@dataclass(frozen=True)
class Setting:
    """An environment variable that must be there before `import ray`. What the user has set is left alone."""

    name: str
    value: str
    reason: str


PLACED_S = 20.0  # in which the workers of a trial get their place on the cluster, or it fails

ALWAYS = (
    Setting("RAY_USAGE_STATS_ENABLED", "0", "nothing is sent to anyone"),
    Setting("RAY_CHDIR_TO_TRIAL_DIR", "0", "relative paths mean the same in a worker as for the user"),
    Setting("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5", "a lost worker is noticed in 0.5 s, not in 2 s"),
    Setting("RAY_TRAIN_ENABLE_PRINT_PATCH", "0", "it prints every line of a worker twice"),
    Setting("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1", "a worker that asked for no GPU must not see one"),
)

SWEEP = (
    Setting("TUNE_DISABLE_SIGINT_HANDLER", "1", "Ctrl-C ends a sweep at once: all of it is on record"),
    Setting("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1", "the trials' runs have their own files"),
)
"""Of a driver that starts trials."""

QUIET = (
    Setting(
        "RAY_DEDUP_LOGS_SKIP_REGEX",
        ".",
        "a lost worker is told in a sentence of ours, Ray's has 1,200 characters",
    ),
)

EMBEDDED = (
    Setting("RAY_AUTH_MODE", "token", "whoever reaches an open Ray runs code as this user"),
    Setting("RAY_AUTH_TOKEN", "", "fresh for each run, or Ray leaves one in the user's home"),
    # Whatever its name says: without it Ray replaces 127.0.0.1 by the machine's own address and listens on all of them.
    Setting(
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0", "an embedded Ray listens on the loopback interface only"
    ),
    Setting("GLOO_SOCKET_IFNAME", "", "all ranks are here; a laptop's own name may lead to a VPN or nowhere"),
)


def apply(config: "RayConfig", *, embedded: bool) -> None:
    """Set this process's environment, which Ray's processes inherit. To be called before `import ray`."""
    set_defaults(*ALWAYS, *(() if config.verbose else QUIET), *(EMBEDDED if embedded else ()))
    if embedded:
        os.environ["RAY_AUTH_TOKEN"] = os.environ["RAY_AUTH_TOKEN"] or secrets.token_hex(32)
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["GLOO_SOCKET_IFNAME"] or loopback()
    # One attempt to place the workers; the run as a whole is bounded by the driver, because Ray counts a failed
    # placement as a controller failure, of which it allows any number.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(min(config.start_timeout_s, 60.0)))


def apply_to_trial(config: "RayConfig") -> None:
    """Set the environment of a trial's driver: on a given cluster it has not the one of the driver of the sweep."""
    set_defaults(*ALWAYS, *(() if config.verbose else QUIET))
    # What is set for the driver of the sweep comes down to this process, and may not hold for it.
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = f"{PLACED_S:g}"


def set_defaults(*settings: Setting) -> None:
    """Set the variables that are not set yet."""
    for setting in settings:
        os.environ.setdefault(setting.name, setting.value)


def loopback() -> str:
    """Name of the loopback interface: lo on Linux, lo0 on macOS."""
    return next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "lo")


@contextmanager
def short_folder() -> Iterator[str | None]:
    """A folder for the files of an embedded Ray, for this user alone; None = its own choice will do for its sockets.

    Raises:
        UserError: its own choice will not do, and there is no other.
    """
    chosen = os.path.abspath(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
    if (short := socket_folder(chosen, _SOCKET)) == chosen:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="ray-", dir=short, ignore_cleanup_errors=True) as folder:
        yield folder


def init_arguments(
    config: "RayConfig", address: str | None, cpus: int, folder: str | None = None
) -> dict[str, Any]:
    """Arguments of `ray.init`.

    Args:
        config: the settings of the user.
        address: of the Ray to join; None = start one here.
        cpus: cores that an embedded Ray hands out.
        folder: for its files; None = its own choice.
    """
    quiet = {"logging_level": "info" if config.verbose else "error", "log_to_driver": config.verbose}
    if address is not None:
        return {"address": address, **quiet}
    return {
        "address": "local",  # never join a Ray that happens to run here
        "num_cpus": cpus,
        "object_store_memory": config.object_store_bytes,
        # Without its dashboard, Ray leaks the placement groups of trials that were stopped early.
        "include_dashboard": True,
        # The machine's own address changes when a laptop changes networks, and Ray does not survive that.
        "_node_ip_address": "127.0.0.1",
        **({} if folder is None else {"_temp_dir": folder}),
        **quiet,
    }
