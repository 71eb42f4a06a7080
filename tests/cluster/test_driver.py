"""The driver beside a run that is not there: what it passes on, and when it gives up."""

from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
import ray

from cluster import driver
from cluster.board import Board, Message
from cluster.config import ClusterConfig
from cluster.driver import Driver
from cluster.stop import Stop
from data_shards.exits import Refused
from monitoring.run_state import RunState
from tests.remote_board import Remote
from trainer.overrides import resolve

_PATIENCE_S = 30.0


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

    def tell(self, kind: Any, content: Any, worker: str = "") -> None:
        self.board.tell(Message(kind, content, worker))


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda value, timeout: value)
    monkeypatch.setattr(driver, "_LOOK_S", 0.01)


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
        watch.tell("lost", {1: "gone", 0: "its process or machine is gone"})
        wait(lambda: not watch.stop.running.is_set())
        watch.tell("started", {0: "a 2"})
        watch.tell("metrics", {"step": 2})
        return RunState.FINISHED

    assert watch(work) is RunState.FINISHED
    assert watch.lines == [{"step": 1}, {"step": 2}]
    assert watch.said == [
        "rank 0: port 9 is taken",
        "worker lost (rank 0: its process or machine is gone; rank 1: gone); starting again from the newest "
        "checkpoint (1 of 3)",
    ]


def test_after_the_last_start_it_says_that_it_gives_up() -> None:
    watch = Watch("scaling.max_failures=1")
    watch.tell("lost", {0: "a"})
    watch.tell("lost", {0: "b"})
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
    watch, over = Watch("ray.start_timeout_s=0.05", "scaling.num_workers=[3,4]"), Event()
    with pytest.raises(ValueError, match=r"no room for 3 workers within 0.05 s; the cluster has CPU 2;"):
        watch(lambda: finished_after(over))
    over.set()


def test_what_a_group_before_refuses_ends_nothing() -> None:
    watch = Watch()
    watch.tell("started", {0: "a 1", 1: "b 1"})
    watch.tell("lost", {1: "gone"})
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
