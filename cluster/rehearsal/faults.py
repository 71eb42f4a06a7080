"""FAULTS: what a rehearsal does to a run, what must be told of it, and how the run may go on."""

import os
import resource
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from cluster.rehearsal.damage import damage
from cluster.rehearsal.freeze import forbidden, freeze
from cluster.rehearsal.gate import Weather
from cluster.rehearsal.processes import parent
from cluster.rehearsal.scene import NODE_CPUS, Scene
from cluster.rehearsal.schedule import Blow
from trainer.checkpoints.checkpoint import FOLDER, MANIFEST, read_checkpoint, steps_on

Undo = Callable[[], None]

_FULL_BYTES = 4096  # of a file, at most, on a disk that is full
_GONE_S = 60.0
_UNTIL_NOTICED = (300.0, 300.0)
_A_WHILE = (5.0, 30.0)


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        purpose: in one line.
        inject: does it; returns what undoes it after `lasts`, or once workers were lost or a driver has ended.
        told: a pattern of what the user must be told; "" = nothing need be.
        ends: exit codes with which a driver ends by it; it is then started again; () = none may end.
        loses: whether the group of workers starts again.
        lasts: seconds, least and most; 0 = a moment.
        forbidden: why this system does not allow it; "" = it does.
        store: whether it is of the object store that the run lies in.
        hosts: whether it is of a network, between hosts.
        patient: whether it lasts for its time also where workers were lost before.
        runs_on: steps that a run of fast ones may do before the fault is over, for nothing need stop it.
    """

    purpose: str
    inject: Callable[[Scene, Blow], Undo]
    told: str = ""
    ends: tuple[int, ...] = ()
    loses: bool = False
    lasts: tuple[float, float] = (0.0, 0.0)
    forbidden: Callable[[], str] = str
    store: bool = False
    hosts: bool = False
    patient: bool = False
    runs_on: int = 0


def _nothing() -> None:
    return None


def _worker(scene: Scene, blow: Blow) -> int:
    ranks = scene.ranks()
    return ranks[blow.worker % len(ranks)]


def _kill_worker(scene: Scene, blow: Blow) -> Undo:
    os.kill(_worker(scene, blow), signal.SIGKILL)
    return _nothing


def _kill_raylet(scene: Scene, blow: Blow) -> Undo:
    """A machine is lost at once, and another one comes in its place."""
    os.kill(parent(_worker(scene, blow)), signal.SIGKILL)
    scene.nodes.join(NODE_CPUS)
    return scene.wait_for_node


def _stop_worker(scene: Scene, blow: Blow) -> Undo:
    pid = _worker(scene, blow)
    os.kill(pid, signal.SIGSTOP)
    return partial(_continue, pid)


def _continue(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _block_thread(scene: Scene, blow: Blow) -> Undo:
    return freeze(_worker(scene, blow))


def _full_disk(scene: Scene, blow: Blow) -> Undo:
    """By the limit of a file's size, which running processes can be given: their writes end in the middle."""
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in scene.ranks()}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (_FULL_BYTES, hard))
    return partial(_lift, limits)


def _lift(limits: Mapping[int, tuple[int, int]]) -> None:
    for pid, each in limits.items():
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, each)


def _preempt(scene: Scene, blow: Blow) -> Undo:
    os.kill(scene.driver.pid, signal.SIGTERM)
    return _nothing


def _kill_driver(scene: Scene, blow: Blow) -> Undo:
    scene.kill_driver()
    return _nothing


def _damage_shard(scene: Scene, blow: Blow) -> Undo:
    """While nobody trains, for whoever has read a shard may hold all of it; then the same command, which refuses it."""
    scene.kill_driver()
    scene.wait_for_ranks_to_end(_GONE_S)
    scene.ended()
    shards = sorted(name for name in scene.data.list() if name.startswith("train-") and name.endswith(".tar"))
    undo = damage(scene.data, shards[int(blow.where * len(shards))], "zeros", blow.where)
    scene.start()
    return undo


def _damage_checkpoint(how: str) -> Callable[[Scene, Blow], Undo]:
    """While nobody trains, the newest checkpoint is damaged, and nobody mends it."""

    def inject(scene: Scene, blow: Blow) -> Undo:
        scene.kill_driver()
        scene.wait_for_ranks_to_end(_GONE_S)
        checkpoint = read_checkpoint(scene.store, steps_on(scene.store)[-1])
        names = [MANIFEST, *sorted(checkpoint.files)]
        name = names[int(blow.where * len(names))]
        damage(scene.store, f"{checkpoint.folder}/{name}", how, blow.where * len(names) % 1)
        return _nothing

    return inject


def _of_store(purpose: str, weather: Weather) -> Fault:
    """What the object store is like for all who train, for a while."""

    def inject(scene: Scene, blow: Blow) -> Undo:
        assert scene.gate is not None
        return scene.gate.set(weather)

    return Fault(purpose, inject, lasts=_A_WHILE, store=True, runs_on=160)


def _cut_node(scene: Scene, blow: Blow) -> Undo:
    assert scene.hosts is not None
    return scene.hosts.cut_off(_worker(scene, blow))


def _second_driver(scene: Scene, blow: Blow) -> Undo:
    """The same command once more, while the first still trains: the later start has the run."""
    scene.start()
    return _nothing


_KILLED = r"worker lost \(rank \d on .*: its process was killed\)"
_NODE = r"worker lost \(rank \d on .*: its (process was killed|machine has left the cluster)"
_FULL = r"worker lost \(rank \d on .*(File too large|No space left)"
_CORRUPT = r"train-\S+\.tar"
_BLOCKED = r"worker lost \(rank \d on .*: (stuck for|stopped answering) "
_STOPPED = r"worker lost \(rank \d on .*: stopped answering "
_FOLLOWED = "another process has started this run since"
_CUT = r"worker lost \(rank \d on .*: (stopped answering|its machine has left the cluster)"
_DAMAGED = rf"{FOLDER}/step-\d+.*it is left as it is, and the run goes on from step \d+"

FAULTS: Mapping[str, Fault] = {
    "kill-worker": Fault("kill -9 of a worker", _kill_worker, _KILLED, loses=True),
    "kill-at-epoch": Fault("kill -9 of a worker where an epoch ends", _kill_worker, _KILLED, loses=True),
    "kill-raylet": Fault(
        "kill -9 of a node's raylet, and another joins", _kill_raylet, _NODE, loses=True, lasts=_UNTIL_NOTICED
    ),
    "stop-worker": Fault(
        "a worker is stopped (SIGSTOP)", _stop_worker, _STOPPED, loses=True, lasts=_UNTIL_NOTICED
    ),
    "block-thread": Fault(
        "a worker's training thread is blocked, and its others run",
        _block_thread,
        _BLOCKED,
        loses=True,
        lasts=_UNTIL_NOTICED,
        forbidden=forbidden,
    ),
    "full-disk": Fault("the workers' disks are full", _full_disk, _FULL, loses=True, lasts=_UNTIL_NOTICED),
    "kill-driver": Fault("kill -9 of the driver, started again", _kill_driver, ends=(-9,)),
    "preempt": Fault("SIGTERM to the driver, started again", _preempt, "the run is saved", ends=(130,)),
    "flip-checkpoint": Fault(
        "the newest checkpoint has a byte flipped", _damage_checkpoint("flip"), _DAMAGED, ends=(-9,)
    ),
    "cut-checkpoint": Fault(
        "the newest checkpoint is cut short", _damage_checkpoint("cut"), _DAMAGED, ends=(-9,)
    ),
    "corrupt-shard": Fault(
        "a shard is damaged, and mended when that is told",
        _damage_shard,
        _CORRUPT,
        ends=(2,),
        lasts=_UNTIL_NOTICED,
    ),
    "cut-node": Fault(
        "the network of a worker's host is cut",
        _cut_node,
        _CUT,
        loses=True,
        lasts=(20.0, 40.0),
        hosts=True,
        patient=True,
    ),
    "second-driver": Fault(
        "another driver starts the same run", _second_driver, _FOLLOWED, ends=(2,), runs_on=320
    ),
    "store-down": _of_store("the object store is down", "down"),
    "store-errors": _of_store("the object store answers 503 (Slow Down)", "errors"),
    "store-nonsense": _of_store("what the object store answers is no HTTP", "nonsense"),
    "store-resets": _of_store("the object store's answers break off", "resets"),
    "store-slow": _of_store("the object store is slow", "slow"),
}
