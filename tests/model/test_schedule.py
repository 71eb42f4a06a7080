"""Annealed values."""

import pytest

from model.schedule import Ramp


@pytest.mark.parametrize(
    ("step", "value"), [(0, 6.0), (99, 6.0), (100, 6.0), (150, 9.0), (200, 12.0), (10_000, 12.0)]
)
def test_a_ramp_is_linear_between_its_ends(step: int, value: float) -> None:
    assert Ramp(6.0, 12.0, steps=100, begin=100).at(step) == pytest.approx(value)


def test_a_ramp_without_steps_jumps() -> None:
    assert [Ramp(0.0, 1.0, begin=2).at(step) for step in range(4)] == [0.0, 0.0, 1.0, 1.0]


def test_negative_times_are_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        Ramp(0.0, 1.0, steps=-1)


def test_a_ramp_outside_its_range_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"alpha.*-2.*0 to 5"):
        Ramp(1.0, -2.0).require("alpha", 0.0, 5.0)
