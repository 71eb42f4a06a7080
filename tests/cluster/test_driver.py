"""The driver beside a run that is not there: what it passes on, and when it gives up."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.train.v2._internal.exceptions import (
    InsufficientClusterResourcesError,
    WorkerGroupStartupTimeoutError,
)

from cluster import driver, guard, losses
from cluster.board import Board, Failure, Message, Place
from cluster.config import ClusterConfig
from cluster.driver import Driver
from cluster.stop import Stop
from data_shards.exits import Refused
from monitoring.heartbeat import Beat
from monitoring.run_state import RunState
from tests.remote_board import Remote
from trainer.overrides import resolve

_PATIENCE_S = 30.0


PLACES = {0: Place("there", "node0", 7), 1: Place("here", "node1", 8)}


@dataclass(frozen=True)
class Asked:
    """In place of what Ray will answer: the stacks of a host."""

    host: str


class Execute:
    """In place of a worker's method, to be called as Ray's are."""

    def __init__(self, host: str) -> None:
        self._host = host

    def remote(self, function: object) -> Asked:
        return Asked(self._host)


class Fitted:
    """In place of Ray's trainer: runs `work`, whose value or error is the outcome."""

    def __init__(self, work: Callable[[], RunState]) -> None:
        self._work = work

    def fit(self) -> "Fitted":
        self.return_value = self._work()
        return self


class Watch:
    """A driver, its board, and what it has said and reported."""

    def __init__(self, *words: str) -> None:
        self.board, self.stop = Board(), Stop()
        self.said: list[str] = []
        self.lines: list[dict[str, Any]] = []
        config = resolve("demo", words, ClusterConfig)
        self.driver = Driver(Remote(self.board), config, self.lines.append, self.said.append, self.stop)

    def __call__(self, work: Callable[[], RunState]) -> RunState:
        trainer: Any = Fitted(work)
        with self.driver:
            return self.driver.watch(trainer)

    def lose(self, **causes: str) -> None:
        """Processes are gone: rank1="its words"."""
        gone = {int(name.removeprefix("rank")): Failure(words, gone=True) for name, words in causes.items()}
        self.tell("lost", gone)

    def tell(self, kind: Any, content: Any, worker: str = "") -> None:
        self.board.tell(Message(kind, content, worker))


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda value, timeout: value)
    monkeypatch.setattr(driver, "_LOOK_S", 0.01)
    monkeypatch.setattr(driver, "_HEAR_S", 0.01)
    monkeypatch.setattr(driver, "dead_nodes", set)
    monkeypatch.setattr(losses, "MACHINE_S", 0.0)


def wait(condition: Callable[[], bool]) -> None:
    waiting = Event()
    for _ in range(round(_PATIENCE_S / 0.01)):
        if condition():
            return
        waiting.wait(0.01)
    raise TimeoutError


def test_lines_and_sentences_reach_who_asked_for_them() -> None:
    watch = Watch()

    def work() -> RunState:
        watch.tell("started", {0: "a 1"})
        wait(watch.stop.running.is_set)
        watch.tell("metrics", {"step": 1})
        watch.tell("notice", "rank 0: port 9 is taken")
        watch.lose(rank1="gone", rank0="its process was killed")
        wait(lambda: not watch.stop.running.is_set())
        watch.tell("started", {0: "a 2"})
        watch.tell("metrics", {"step": 2})
        return RunState.FINISHED

    assert watch(work) is RunState.FINISHED
    assert watch.lines == [{"step": 1}, {"step": 2}]
    assert watch.said == [
        "rank 0: port 9 is taken",
        "worker lost (rank 0: its process was killed; rank 1: gone); starting again from the newest "
        "checkpoint (1 of 3)",
    ]


def test_after_the_last_start_it_says_that_it_gives_up() -> None:
    watch = Watch("scaling.max_failures=1")
    watch.lose(rank0="a")
    watch.lose(rank0="b")
    with pytest.raises(Refused, match="no more"):
        watch(lambda: failed(RuntimeError("no more")))
    assert [text.partition("; ")[2] for text in watch.said] == [
        "starting again from the newest checkpoint (1 of 1)",
        "giving up (2 of 1)",
    ]


def test_a_wish_to_stop_is_passed_on_once_also_before_anything_runs() -> None:
    watch = Watch()
    stops: list[bool] = []
    watch.board.stop = lambda: stops.append(True)  # type: ignore[method-assign]
    watch.driver._board = Remote(watch.board)

    def work() -> RunState:
        wait(lambda: bool(stops))
        Event().wait(0.1)
        return RunState.INTERRUPTED

    watch.stop.asked.set()
    assert watch(work) is RunState.INTERRUPTED
    assert len(stops) == 1


def test_a_board_that_answers_late_costs_no_word_and_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where its process takes a minute to start: what it was asked for comes with its answer."""
    watch, asked, late = Watch(), list[object](), Event()

    def get(answer: Any, timeout: float) -> Any:
        asked.append(answer)
        if not late.is_set():
            raise ray.exceptions.GetTimeoutError("some object(s) not ready")
        return answer

    def work() -> RunState:
        wait(lambda: len(asked) > 3)
        watch.tell("notice", "rank 0: here")
        late.set()
        return RunState.FINISHED

    monkeypatch.setattr(ray, "get", get)
    watch.tell("notice", "rank 0: port 9 is taken")
    assert watch(work) is RunState.FINISHED
    assert watch.said == ["rank 0: port 9 is taken", "rank 0: here"]


@pytest.mark.parametrize(("code", "kind"), [(2, ValueError), (1, Refused)])
def test_what_a_worker_refuses_ends_the_run_in_its_words(code: int, kind: type[Exception]) -> None:
    watch, over = Watch(), Event()

    def work() -> RunState:
        watch.tell("refused", (code, "field x: got 1, needs 2"))
        over.wait(_PATIENCE_S)
        return RunState.FAILED

    with pytest.raises(kind, match=r"^field x: got 1, needs 2$"):
        watch(work)
    over.set()


def test_the_wait_for_workers_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(driver, "has_placed", lambda workers: False)
    watch, over = Watch("ray.start_timeout_s=0.05", "scaling.num_workers=[3,4]"), Event()
    with pytest.raises(ValueError, match=r"no room for 3 workers within 0.05 s; the cluster has CPU 2;"):
        watch(lambda: finished_after(over))
    over.set()


@pytest.mark.parametrize("processes", [True, False])
def test_workers_that_are_slow_to_start_are_not_said_to_have_no_room(
    monkeypatch: pytest.MonkeyPatch, processes: bool
) -> None:
    monkeypatch.setattr(driver, "has_placed", lambda workers: workers == 2)
    watch, over = Watch("ray.start_timeout_s=0.05", "scaling.num_workers=2"), Event()
    if processes:
        watch.tell("placed", PLACES)
    sentence = (
        r"2 workers were placed \(on here, there\), and none has started to train within 0.05 s"
        if processes
        else r"there is room for 2 workers, and not all of their processes were there within 0.05 s"
    )
    with pytest.raises(Refused, match=sentence):
        watch(lambda: finished_after(over))
    over.set()


def test_where_there_are_others_it_is_said_which_worker_refuses() -> None:
    watch = Watch()
    watch.tell("placed", PLACES)
    watch.tell("started", {0: "there 7"})
    watch.tell("started", {1: "here 8"})
    watch.tell("refused", (2, "field data.url: no data set here"), "here 8")
    with pytest.raises(ValueError, match=r"no data set here \(rank 1 on here, process 8\)$"):
        watch(lambda: RunState.FINISHED)


def test_a_rank_that_does_not_come_forward_ends_the_group_and_is_the_cause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    killed: list[str] = []
    places = {
        rank: replace(place, actor=SimpleNamespace(name=place.host, execute=Execute(place.host)))
        for rank, place in PLACES.items()
    }
    monkeypatch.setattr(ray, "kill", lambda actor: killed.append(actor.name))
    monkeypatch.setattr(ray, "wait", lambda refs, num_returns, timeout: (refs, []))
    monkeypatch.setattr(guard, "local_folder", lambda output: tmp_path)
    shown = {"here": "/x/loop.py:7 stuck", "there": "/x/torch/distributed/c10d.py:3 all_reduce"}
    watch = Watch()
    monkeypatch.setattr(
        ray,
        "get",
        lambda value, timeout: {"TrainingThread": [shown[value.host]]} if isinstance(value, Asked) else value,
    )
    beat = Beat(RunState.TRAINING, "backward", step=30, marks=200, still_s=12.0, p99_s=0.1)

    def work() -> RunState:
        watch.tell("placed", places)
        for rank, place in places.items():
            watch.tell("started", {rank: str(place)})
            watch.board.beat(rank, str(place), beat)
        wait(lambda: len(killed) == 2)
        watch.lose(rank0="its process was killed", rank1="its process was killed")
        return RunState.FINISHED

    assert watch(work) is RunState.FINISHED
    who = "rank 1 on here, process 8"
    assert watch.said == [
        f"the run does not come forward: {who} stuck for 12 s in step 31 (backward) at /x/loop.py:7 stuck; "
        "ending its workers",
        f"the stacks of 2 workers are in {next((tmp_path / 'stacks').iterdir())}",
        f"worker lost ({who}: stuck for 12 s in step 31 (backward)); starting again from the newest checkpoint "
        "(1 of 3)",
    ]


@pytest.mark.parametrize(
    "failure", [WorkerGroupStartupTimeoutError(1), InsufficientClusterResourcesError("too little")], ids=str
)
def test_a_run_that_was_not_placed_says_what_there_is(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(
        ValueError, match=r"no room for 1 workers within 20 s; the cluster has CPU 2; ask for fewer"
    ):
        Watch()(lambda: failed(ray.train.ControllerError(failure)))


def test_what_a_group_before_refuses_ends_nothing() -> None:
    watch = Watch()
    watch.tell("started", {0: "a 1", 1: "b 1"})
    watch.lose(rank1="gone")
    watch.tell("started", {0: "a 2"})
    watch.tell("refused", (2, "another process has started this run since"), "a 1")
    assert watch(lambda: RunState.FINISHED) is RunState.FINISHED
    watch.tell("refused", (2, "field x: got 1, needs 2"), "a 2")
    with pytest.raises(ValueError, match="field x"):
        watch(lambda: RunState.FINISHED)


@pytest.mark.parametrize("running", [True, False])
def test_a_run_that_is_left_is_aborted_where_its_controller_can_answer(running: bool) -> None:
    watch, over, aborted = Watch(), Event(), Event()

    class Controller:
        abort = type("", (), {"remote": aborted.set})

    watch.tell("controller", Controller)
    if running:
        watch.tell("started", {0: "a 1"})
    watch.tell("refused", (2, "a mistake"))
    with pytest.raises(ValueError, match="a mistake"):
        watch(lambda: finished_after(over))
    over.set()
    assert aborted.is_set() is running


def failed(error: Exception) -> RunState:
    raise error


def finished_after(over: Event) -> RunState:
    over.wait(_PATIENCE_S)
    return RunState.FINISHED
