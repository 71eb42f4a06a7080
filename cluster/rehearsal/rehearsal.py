"""rehearse(): one run that nobody disturbs, the same with faults, and what they have to have in common."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cluster.config import ClusterConfig
from cluster.rehearsal.faults import FAULTS
from cluster.rehearsal.follow import Following, reach
from cluster.rehearsal.gate import Gate
from cluster.rehearsal.hosts import Host, Hosts
from cluster.rehearsal.leftovers import after_ray, after_runs, shared_memory
from cluster.rehearsal.nodes import LocalRay
from cluster.rehearsal.processes import end
from cluster.rehearsal.scene import NODE_CPUS, Scene
from cluster.rehearsal.schedule import Blow
from cluster.rehearsal.verdict import Outcome, compare, figures, report, same_weights
from data_shards.exits import Refused
from data_shards.sockets import socket_folder
from data_shards.storage.place import open_store
from trainer.checkpoints.load import read_weights
from trainer.journal import stored_lines

_END_S = 1200.0
_GONE_S = 20.0
_SOCKET = "/ray/session_2026-11-22_23-59-59_123456_1234567/sockets/plasma_store.1"


def rehearse(
    config: ClusterConfig,
    blows: Sequence[Blow],
    seed: int,
    out: Path,
    say: Callable[[str], None],
    gate: Gate | None = None,
    hosts: Hosts | None = None,
) -> dict[str, Any]:
    """Train with and without faults; returns what rehearsal.json in `out` says.

    Args:
        config: of the disturbed run; the other's output has another name.
        blows: the faults, by their steps.
        seed: which they were drawn with, for the report.
        out: a folder for configs and logs.
        say: called with a sentence about each thing that happens.
        gate: the way to the object store, where the runs lie in one.
        hosts: for the nodes; None = all are on loopback.

    Raises:
        Refused: the undisturbed run fails, or the disturbed one does not go on.
    """
    quiet = config.model_copy(update={"output": f"{config.output}-undisturbed"})
    scratch = (out / "tmp").absolute()
    scratch.mkdir()
    with _scene(config, out, scratch, gate, hosts) as (scene, nodes):
        before = shared_memory()
        say(f"the run that nobody disturbs: {quiet.steps} steps")
        _alone(scene, quiet, out)
        wanted = stored_lines(open_store(quiet.output))
        scene.start()
        outcomes = [_strike(scene, blow, say) for blow in blows]
        complaints = _finish(scene, scratch)
        nodes.close()
        complaints += after_ray(nodes, scratch, before)
    found = stored_lines(scene.store)
    *_, sentences = compare(found, wanted, config.batch.size)
    complaints += sentences
    complaints += same_weights(read_weights(config.output)[2], read_weights(quiet.output)[2])
    numbers = figures(outcomes, found, wanted, config.batch.size)
    written = report(outcomes, numbers, complaints + _of_faults(outcomes), seed)
    (out / "rehearsal.json").write_text(json.dumps(written, indent=2))
    return written


@contextmanager
def _scene(
    config: ClusterConfig, out: Path, scratch: Path, gate: Gate | None, hosts: Hosts | None
) -> Iterator[tuple[Scene, LocalRay]]:
    """A Ray of a head and a node for each worker; what is left of it when the context ends is killed."""
    variables = {"TMPDIR": str(scratch), **_keys(gate)}
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir=socket_folder(tempfile.gettempdir(), _SOCKET)))
    host = hosts.add if hosts else Host
    nodes = LocalRay(folder, 0, dashboard=False, variables=variables, host=host)
    stores = open_store(config.output), open_store(config.data.url)
    scene = Scene(nodes, _written(config, out), *stores, out / "driver.log", variables, gate, hosts)
    try:
        scene.wait_for_node()
        for _ in range(config.scaling.most):
            nodes.join(NODE_CPUS)
            scene.wait_for_node()
        yield scene, nodes
    finally:
        for driver in scene.drivers:
            driver.kill()
        nodes.close()
        shutil.rmtree(folder, ignore_errors=True)


def _keys(gate: Gate | None) -> dict[str, str]:
    """What lets those who train into the object store, through the gate."""
    if gate is None:
        return {}
    keys = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return keys | {"AWS_ENDPOINT_URL": gate.url, "AWS_ENDPOINT_URL_S3": gate.url}


def _alone(scene: Scene, quiet: ClusterConfig, out: Path) -> None:
    """The run that nobody disturbs, to its end."""
    disturbed, scene.config, log = scene.config, _written(quiet, out), scene.log
    scene.log = out / "undisturbed.log"
    scene.start()
    try:
        if (code := scene.driver.process.wait(_END_S)) != 0:
            raise Refused(f"the run that nobody disturbs ended with {code}:\n{scene.said()[-2000:]}")
    finally:
        scene.config, scene.log = disturbed, log
    scene.ended()


def _strike(scene: Scene, blow: Blow, say: Callable[[str], None]) -> Outcome:
    """One fault, when its step has come."""
    reach(scene, blow.step)
    say(f"{blow.number:3} step {blow.step}: {FAULTS[blow.kind].purpose}")
    outcome = Following(scene, blow).outcome()
    took = "never" if outcome.recovered_s is None else f"{outcome.recovered_s:.1f} s"
    say(f"    next step after {took}; {outcome.told or 'nothing told'}")
    for complaint in outcome.complaints:
        say(f"    BUT {complaint}")
    return outcome


def _finish(scene: Scene, scratch: Path) -> list[str]:
    """Wait for the disturbed run's end; sentences about how it ended and what it has left."""
    code = scene.driver.process.wait(_END_S)
    found = [f"the disturbed run ended with {code}: {scene.said()[-500:].strip()}"] if code else []
    deadline = time.monotonic() + _GONE_S
    while (left := scene.ranks()) and time.monotonic() < deadline:
        time.sleep(0.2)
    found += after_runs(left, scratch)
    end(left, 0)
    return found


def _of_faults(outcomes: Sequence[Outcome]) -> list[str]:
    return [f"{o.blow.number} {o.blow.kind}: {words}" for o in outcomes for words in o.complaints]


def _written(config: ClusterConfig, out: Path) -> Path:
    path = (out / f"{config.output.rstrip('/').rpartition('/')[2]}.json").absolute()
    path.write_text(json.dumps(config.model_dump(mode="json"), indent=2))
    return path


def copied(source: str, target: str) -> None:
    """Copy a data set: what is damaged is never the user's own."""
    there, here = open_store(source), open_store(target)
    for name in sorted(there.list(), key=lambda name: name == "manifest.json"):
        with suppress(FileExistsError):
            here.put(name, there.read(name), if_absent=True)
