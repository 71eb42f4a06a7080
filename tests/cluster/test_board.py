import logging
import time

import pytest
import ray
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from cluster.board import Board, Losses, Message, Notices, Stopping, Throttle, cause
from tests.remote_board import Remote


@pytest.fixture
def board() -> Board:
    return Board()


def test_messages_are_taken_once_and_in_order(board: Board) -> None:
    for number in range(3):
        board.tell(Message("notice", number))
    assert [m.content for m in board.take()] == [0, 1, 2]
    assert board.take() == []


def test_a_throttle_never_holds_back_scores_or_the_last_line(board: Board) -> None:
    throttle = Throttle(Remote(board), seconds=60)
    for step in range(1, 6):
        throttle({"step": step, "loss": 0.0})
    throttle({"step": 5, "scores": {}})
    throttle({"step": 6, "loss": 0.0})
    throttle.flush()
    throttle.flush()
    assert [m.content["step"] for m in board.take()] == [1, 5, 6]


def test_warnings_of_a_worker_name_their_rank(board: Board) -> None:
    logger = logging.getLogger("tests.cluster.board")
    handler = Notices(Remote(board), rank=3)
    logger.addHandler(handler)
    try:
        logger.info("nothing")
        logger.warning("port %d is taken", 9)
    finally:
        logger.removeHandler(handler)
    assert [m.content for m in board.take()] == ["rank 3: port 9 is taken"]


def test_a_wish_to_stop_arrives_without_a_step_waiting(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.board._POLL_S", 0.01)
    monkeypatch.setattr(ray, "get", lambda value, timeout: value)
    stopping = Stopping(Remote(board))
    assert not stopping()
    board.stop()
    deadline = time.monotonic() + 5
    while not stopping() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stopping()
    stopping.close()


def test_a_board_that_is_gone_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.board._POLL_S", 0.01)

    def gone(value: object, timeout: float) -> None:
        raise ray.exceptions.RayActorError

    monkeypatch.setattr(ray, "get", gone)
    stopping = Stopping(Remote(Board()))
    time.sleep(0.1)
    assert not stopping()
    stopping.close()


def test_losses_are_told_in_a_sentence_each(board: Board) -> None:
    worker = "Traceback (most recent call last):\n  File x\nRuntimeError: " + "long " * 100
    gone = ray.exceptions.RayActorError()
    wrapped = WorkerHealthCheckFailedError("A worker health check failed.", failure=gone)
    Losses(Remote(board)).after_exception(None, {0: wrapped, 1: RuntimeError(worker), 2: gone})
    (message,) = board.take()
    assert message.kind == "lost"
    assert message.content[0] == message.content[2] == "its process or machine is gone"
    assert message.content[1].startswith("RuntimeError: long")
    assert len(message.content[1]) <= 160
    assert cause(ValueError()) == "ValueError"
