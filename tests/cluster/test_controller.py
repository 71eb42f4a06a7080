"""What Ray's controller tells of a group of workers, and how it ends one that has failed."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from cluster import controller
from cluster.board import Board, Failure, Place
from cluster.controller import Group, failure_of
from tests.remote_board import Remote

GLOO = "Traceback (most recent call last):\n  File x\nRuntimeError: [/gloo/transport/tcp/pair.cc:553] Connection closed"

ADVICE = (
    "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the "
    "process was killed by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the "
    "worker crashed unexpectedly due to SIGSEGV or another unexpected error."
)  # what Ray says of a process that it has not ended


class Actor:
    """A worker's handle: runs its function for so many looks."""

    def __init__(self, looks: int) -> None:
        self.looks, self.killed = looks, False
        self.poll_status = SimpleNamespace(remote=self._poll)

    def _poll(self) -> Any:
        self.looks -= 1
        return SimpleNamespace(running=self.looks >= 0)


def workers(*actors: Actor) -> list[Any]:
    return [
        SimpleNamespace(
            actor=actor,
            metadata=SimpleNamespace(hostname=f"host{rank}", node_id=f"node{rank}", pid=100 + rank),
            distributed_context=SimpleNamespace(world_rank=rank),
        )
        for rank, actor in enumerate(actors)
    ]


def status(errors: dict[int, Exception], *, finished: bool = False) -> Any:
    return SimpleNamespace(errors=errors, finished=finished)


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda value, timeout: value)
    monkeypatch.setattr(ray, "kill", lambda actor: setattr(actor, "killed", True))
    monkeypatch.setattr(controller, "_LOOK_S", 0.01)


def test_a_group_is_followed_and_what_is_left_of_it_is_ended() -> None:
    board, actors = Board(), (Actor(3), Actor(0))
    group = Group(Remote(board))
    group.before_worker_group_start(SimpleNamespace(num_workers=2))
    assert group.before_init_train_context(workers(*actors)) == {}
    group.after_worker_group_poll_status(status({}))
    for _ in range(2):  # Ray may ask once more
        group.after_worker_group_poll_status(status({1: RuntimeError(GLOO)}))
    with group.on_worker_group_shutdown():
        assert actors[0].looks < 0, "it had time to end by itself"
        assert all(actor.killed for actor in actors)
    told = board.take()
    assert [message.kind for message in told] == ["placing", "placed", "lost"]
    assert told[0].content == 2
    assert told[1].content == {
        rank: Place(f"host{rank}", f"node{rank}", 100 + rank, actors[rank]) for rank in (0, 1)
    }
    assert set(told[2].content) == {1}


def test_a_rank_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "_SETTLE_S", 0.05)
    group, actor = Group(Remote(Board())), Actor(10**9)
    group.before_init_train_context(workers(actor))
    group.after_worker_group_poll_status(status({0: RuntimeError(GLOO)}))
    with group.on_worker_group_shutdown():
        assert actor.killed


@pytest.mark.parametrize(("finished", "kinds"), [(True, []), (False, ["resized"])])
def test_a_group_that_has_not_failed_is_ended_by_ray(finished: bool, kinds: list[str]) -> None:
    board, actor = Board(), Actor(0)
    group = Group(Remote(board))
    group.before_worker_group_start(SimpleNamespace(num_workers=1))
    group.before_init_train_context(workers(actor))
    group.after_worker_group_poll_status(status({}, finished=finished))
    board.take()
    with group.on_worker_group_shutdown():
        assert not actor.killed
    assert [message.kind for message in board.take()] == kinds


def test_a_failure_is_told_in_a_sentence() -> None:
    gone = ray.exceptions.RayActorError()
    wrapped = WorkerHealthCheckFailedError("A worker health check failed.", failure=gone)
    assert failure_of(gone) == failure_of(wrapped) == Failure("its process was killed", gone=True)
    assert failure_of(RuntimeError(GLOO)).peer
    own = failure_of(RuntimeError("Traceback\nRuntimeError: " + "long " * 100))
    assert own.words.startswith("RuntimeError: long")
    assert len(own.words) <= 160
    assert (own.gone, own.peer) == (False, False)
    assert failure_of(ValueError()).words == "ValueError"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("The actor died because its node has died. Node Id: ab12", "its machine has left the cluster"),
        (
            "Task was killed due to the node running low on memory.",
            "ended by Ray: its machine was out of memory",
        ),
        ("The actor is dead because it was killed by `ray.kill`.", "its process was ended by this driver"),
        (ADVICE, "its process was killed"),
    ],
)
def test_what_ray_says_of_a_process_becomes_a_cause(said: str, words: str) -> None:
    error = ray.exceptions.RayActorError(error_msg=said)
    assert failure_of(error) == Failure(words, gone=True)
    assert "taken away" in failure_of(ray.exceptions.RayActorError(error_msg=said, preempted=True)).words
