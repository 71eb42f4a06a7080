"""What a rehearsal complains of: steps that are lost, done twice, or not the same; weights that differ."""

import torch

from cluster.rehearsal.schedule import Blow
from cluster.rehearsal.verdict import Outcome, compare, figures, same_weights

WANTED = [{"step": step, "loss": step / 8, "time": float(step)} for step in range(1, 9)]


def outcome(recovered_s: float | None, ends: tuple[int, ...] = (), told: str = "") -> Outcome:
    return Outcome(Blow(1, "kill-worker", 3, 0, 0.0, 0.5), ends, told, recovered_s, None, ())


def test_the_same_history_is_no_complaint() -> None:
    assert compare(WANTED, WANTED, batch=4) == (0, 0, [])


def test_what_is_lost_twice_or_other_is_told() -> None:
    assert compare(WANTED[:5] + WANTED[6:], WANTED, 4) == (4, 0, ["the history lacks 1 of 8 steps: 6"])
    twice = compare([*WANTED, WANTED[2], WANTED[4]], WANTED, 4)
    assert twice == (0, 8, ["the history has 2 twice or besides of 8 steps: 3, 5"])
    other = [line | {"loss": line["loss"] + 1e-9} if line["step"] == 7 else line for line in WANTED]
    assert compare(other, WANTED, 4) == (0, 0, ["losses differ at 1 of 8 steps: 7"])


def test_weights_are_compared_to_the_bit() -> None:
    weights = {"a": torch.ones(3), "b": torch.zeros(2)}
    assert same_weights(dict(weights), weights) == []
    assert "1 of 2, such as b" in same_weights(weights | {"b": torch.full((2,), 1e-30)}, weights)[0]
    assert "such as b" in same_weights({"a": torch.ones(3)}, weights)[0]
    assert "such as c" in same_weights(weights | {"c": torch.ones(1)}, weights)[0]


def test_recovery_is_of_what_ended_workers_or_drivers() -> None:
    slower = [line | {"time": 4 * line["time"]} for line in WANTED]
    outcomes = [outcome(9.0, told="worker lost (rank 0 ...)"), outcome(5.0, ends=(130,)), outcome(0.1)]
    found = figures(outcomes, slower, WANTED, 4)
    assert (found.recovery_median_s, found.recovery_worst_s) == (7.0, 9.0)
    assert (found.faults, found.steps, found.lost, found.duplicated) == (3, 8, 0, 0)
    assert found.goodput == 0.25
