"""survey(): everything in CHECKS, on the connected Ray: first the driver and the store, then all nodes at once.

It is a part of the job and not one of its own before it: so it is the machine of the driver, the environment and the
code of the run that are looked at, one name serves to follow and to stop both, and nobody comes in between.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.machines import cluster_resources
from cluster.preflight import store as storing
from cluster.preflight.checks import CHECKS, findings
from cluster.preflight.driver import manifest_hashes, probe_name
from cluster.preflight.node import code_here
from cluster.preflight.plan import PROBE_S, Ask, Plan
from cluster.preflight.post import Post
from data_shards.storage.place import check_url, open_store
from data_shards.storage.store import StorageError

_ANSWER_S = 30.0
_HURRY_S = 5.0  # for workers to be placed where the run is refused anyway


@dataclass(frozen=True)
class Node:
    """A machine of the cluster that a worker may be placed on."""

    id: str
    name: str
    host: str
    gpus: int


def survey(plan: Plan, say: Callable[[str], None]) -> list[str]:
    """One sentence for each thing that is in the way of a run, with the name of the machine.

    Args:
        plan: what the run needs.
        say: told what is waited for.
    """
    begun, here = time.monotonic(), f"driver {socket.gethostname()}"
    with _as_it_was(plan.output):
        nodes, hosts, trouble = _place(plan, min(plan.start_s, _HURRY_S))
        found = findings("driver", plan, hosts)
        if trouble and not found and plan.start_s > _HURRY_S:
            say(f"preflight: waiting up to {plan.start_s:g} s for machines")
            nodes, hosts, trouble = _place(plan, plan.start_s)
            found = list(CHECKS["metrics"].find(plan, hosts))
        writable = not any(sentence.startswith("field output") for sentence in found)
        found += trouble + (_of_store(plan) if writable else [])
        found = [f"{here}: {sentence}" for sentence in found] + _of_nodes(plan, nodes, writable)
    said = f"{len(found)} things are" if found else "nothing is"
    say(
        f"preflight: {len(nodes)} nodes, {len(CHECKS)} checks, {time.monotonic() - begun:.1f} s: {said} in the way"
    )
    return found


def verdict(found: Sequence[str], say: Callable[[str], None]) -> int:
    """Tell all that is in the way, a line each; returns the exit code."""
    for sentence in found:
        say(f"error: {sentence}")
    return 2 if found else 0


@contextmanager
def _as_it_was(output: str) -> Iterator[None]:
    """Folders of the output that were not there before are gone afterwards, if they are empty."""
    bucket, path = check_url(output)
    absent = [] if bucket else [folder for folder in (Path(path), *Path(path).parents) if not folder.exists()]
    try:
        yield
    finally:
        with suppress(OSError):
            for folder in absent:
                folder.rmdir()


def _of_store(plan: Plan) -> list[str]:
    """What is wrong with the store of the output."""
    store, folder = open_store(plan.output, PROBE_S), probe_name("store")
    try:
        return findings("store", store, folder)
    finally:
        storing.tidy(store, folder)


def _place(plan: Plan, seconds: float) -> tuple[list[Node], int, list[str]]:
    """Nodes that a worker may be placed on; on how many machines workers would be placed; what is in the way.

    A claim on the machines, let go at once: where a cluster grows on demand, its machines come for it.
    """
    trouble, used = [], set[str]()
    group = placement_group([plan.worker] * plan.workers, strategy=plan.placement)
    try:
        if group.wait(seconds):
            used = set(placement_group_table(group)["bundles_to_node_id"].values())
        else:
            have = ", ".join(f"{name} {count:g}" for name, count in cluster_resources().items())
            trouble.append(
                f"field scaling.num_workers: no room for {plan.workers} workers within {seconds:g} s; the cluster has "
                f"{have}; ask for fewer workers or resources, or raise ray.start_timeout_s"
            )
    finally:
        remove_placement_group(group)
    nodes = [_node(row) for row in ray.nodes() if row["Alive"] and _holds(row["Resources"], plan.worker)]
    hosts = len({node.host for node in nodes if node.id in used}) or 1
    return _with_names(nodes), hosts, trouble


def _of_nodes(plan: Plan, nodes: Sequence[Node], writable: bool) -> list[str]:
    """What all posts say, each at its node; where nothing can be written, nobody tries it again."""
    token = os.urandom(6).hex()
    posts = {node.name: _post(node, token) for node in nodes}
    found: list[str] = []
    peers = _answers({name: post.address.remote() for name, post in posts.items()}, found)
    store, probe = open_store(plan.output, PROBE_S), probe_name("driver") if writable else ""
    try:
        if probe:
            store.put(probe, b"1")
        hosts = len({node.host for node in nodes})
        ask = Ask(plan, code_here(), manifest_hashes(plan), probe, token, peers, hosts)
        asked = {
            node.name: posts[node.name].look.remote(replace(ask, gpus=node.gpus, sent=time.time()))
            for node in nodes
            if node.name in peers
        }
        for name, sentences in _answers(asked, found).items():
            found += [f"node {name}: {sentence}" for sentence in sentences]
        _answers({name: posts[name].close.remote() for name in peers}, [])
    finally:
        if probe:
            with suppress(StorageError):
                store.delete(probe)
        for post in posts.values():
            ray.kill(post)
    return found


def _post(node: Node, token: str) -> Any:
    where = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return ray.remote(Post).options(num_cpus=0, scheduling_strategy=where).remote(token)


def _answers(asked: Mapping[str, Any], found: list[str]) -> dict[str, Any]:
    """The answers of the nodes by name; what failed instead is told in `found`."""
    answers, deadline = {}, time.monotonic() + _ANSWER_S
    for name, answer in asked.items():
        try:
            answers[name] = ray.get(answer, timeout=max(deadline - time.monotonic(), 0.1))
        except ray.exceptions.GetTimeoutError:
            found.append(f"node {name}: no answer within {_ANSWER_S:g} s; look at its raylet")
        except ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            found.append(f"node {name}: {lines[-1] if lines else type(error).__name__}")
    return answers


def _node(row: Mapping[str, Any]) -> Node:
    gpus = int(row["Resources"].get("GPU", 0))
    return Node(row["NodeID"], row["NodeManagerHostname"], row["NodeManagerAddress"], gpus)


def _with_names(nodes: Sequence[Node]) -> list[Node]:
    """The nodes, those of one host told apart by the beginning of Ray's own names."""
    names = [node.name for node in nodes]
    return [
        node if names.count(node.name) == 1 else replace(node, name=f"{node.name}-{node.id[:6]}")
        for node in nodes
    ]


def _holds(resources: Mapping[str, float], worker: Mapping[str, float]) -> bool:
    return all(resources.get(name, 0) >= amount for name, amount in worker.items())
