import logging
import time

import pytest
import ray

from cluster.board import Board, Message, Notices, Pulse, Stopping, Throttle
from monitoring.heartbeat import Heart
from monitoring.run_state import RunState
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


def test_each_rank_is_heard_of_by_a_thread_of_its_own(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.board._BEAT_S", 0.01)
    hearts = {rank: Heart() for rank in (0, 1)}
    pulses = [Pulse(Remote(board), rank, f"host {rank}", heart) for rank, heart in hearts.items()]
    hearts[1].begin(7)
    hearts[1].enter(RunState.TRAINING)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not (
        len(board.beats()) == 2 and board.beats()[1].beat.state is RunState.TRAINING
    ):
        time.sleep(0.01)
    heard = board.beats()
    assert [heard[rank].worker for rank in (0, 1)] == ["host 0", "host 1"]
    assert [heard[rank].beat.step for rank in (0, 1)] == [0, 7]
    assert all(0.0 <= each.age_s < 5.0 for each in heard.values())
    hearts[1].enter(RunState.FINISHED)
    for pulse in pulses:
        pulse.close()
    assert board.beats()[1].beat.state is RunState.FINISHED
    last = board._beats[0][2]
    time.sleep(0.1)
    assert board._beats[0][2] == last
