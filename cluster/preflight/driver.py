"""What the driver's machine looks at: the sets, the output, times that fit each other, where metrics are served."""

import hashlib
import ipaddress
import os
from collections.abc import Iterator
from contextlib import suppress

from cluster.jobs import GRACE
from cluster.preflight.plan import PROBE_S, Plan
from data_shards.manifest import MANIFEST, MANIFEST_BYTES, read_manifest
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError

_SLOW = 20e6  # bytes a second of a store that is slow
_OVERHEAD_S = 7.0  # of a save beside its bytes: the step that runs, and the farewell of Ray
_START_S = 20.0  # in which a worker imports torch
_HICCUP_S = 5.0


def data(plan: Plan, hosts: int) -> Iterator[str]:
    """Every set can be read, and has the splits that the run needs."""
    for url, splits in plan.sets.items():
        try:
            manifest = read_manifest(open_store(url, PROBE_S))
        except StorageError as error:
            yield f"field data.url: {error}"
            continue
        for split in splits:
            if split not in manifest.splits:
                yield f"field data.url: {url} has no split {split}, only {', '.join(manifest.splits)}"


def output(plan: Plan, hosts: int) -> Iterator[str]:
    """The output takes an object and gives it back."""
    yield from put_and_read(plan.output, probe_name("driver"))


def deadlines(plan: Plan, hosts: int) -> Iterator[str]:
    """A save can end before it is given up, and before a stopped job is killed; a hiccup of the store ends nothing."""
    save_s = save_seconds(plan.state_bytes)
    if plan.save_s < save_s:
        yield (
            f"field checkpoint.deadline_s: got {plan.save_s:g}, a checkpoint of {plan.state_bytes / 1e6:.0f} MB may "
            f"take {save_s:.0f} s to a slow store; raise it"
        )
    if plan.data_s < _HICCUP_S and any("://" in url for url in plan.sets):
        yield f"field data.deadline: got {plan.data_s:g}, a store may be out for {_HICCUP_S:g} s and more; raise it"
    if plan.start_s < _START_S:
        yield f"field ray.start_timeout_s: got {plan.start_s:g}, workers take up to {_START_S:g} s to start; raise it"
    grace = os.environ.get(GRACE)
    if grace is not None and float(grace) < save_s:
        yield f"a stopped job is killed after {grace} s, its last save may take {save_s:.0f} s; give a longer --grace"


def metrics(plan: Plan, hosts: int) -> Iterator[str]:
    """What serves metrics to Prometheus can be reached from another host, where there is one."""
    if hosts > 1 and _is_loopback(plan.metrics_host):
        yield (
            f"field monitoring.host: got {plan.metrics_host}, which Prometheus reaches from this machine alone, and "
            f"the workers are on {hosts}; set monitoring.host=0.0.0.0, or monitoring.port=null to serve nothing"
        )


def put_and_read(url: str, name: str) -> Iterator[str]:
    """An object is put where none is, read and removed; yields what is wrong with that."""
    store, content = open_store(url, PROBE_S), os.urandom(32)
    try:
        store.put(name, content, if_absent=True)
    except StorageError as error:
        yield f"field output: {error}"
        return
    try:
        if store.read(name) != content:
            yield f"field output: {url} gives back something else than what was put there"
    except StorageError as error:
        yield f"field output: {error}"
    finally:
        with suppress(StorageError):
            store.delete(name)


def save_seconds(state_bytes: int) -> float:
    """What a save may take to a slow store, with the step that still runs and the farewell of Ray."""
    return state_bytes / _SLOW + _OVERHEAD_S


def manifest_hashes(plan: Plan) -> dict[str, str]:
    """The hash of each set's manifest, by URL; without those that cannot be read here."""
    found = {}
    for url in plan.sets:
        with suppress(StorageError):
            found[url] = manifest_hash(url)
    return found


def manifest_hash(url: str) -> str:
    """Of the bytes of a set's manifest, twelve hexadecimal digits."""
    content = open_store(url, PROBE_S).read(MANIFEST, most=MANIFEST_BYTES)
    return hashlib.sha256(content).hexdigest()[:12]


def probe_name(token: str) -> str:
    """Of an object in the output, for a moment."""
    return f"preflight/{token}-{os.urandom(6).hex()}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
