"""Annealed values."""

import pytest

from model.schedule import Ramp, Stairs


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


def test_stairs_jump_at_their_steps() -> None:
    stairs = Stairs((3, 5, 10), (2, 4))
    assert [stairs.at(step) for step in range(6)] == [3, 3, 5, 5, 10, 10]
    assert Stairs((7,)).at(10**9) == 7


@pytest.mark.parametrize(
    ("values", "steps", "told"),
    [
        ((3, 5), (), "2 values and 0 steps"),
        ((3,), (1,), "1 values and 1 steps"),
        ((3, 5), (0,), r"steps \[0\], need numbers from 1 up"),
        ((3, 5, 7), (4, 4), r"steps \[4, 4\], .* each above the last"),
    ],
)
def test_stairs_that_are_none_are_refused(values: tuple[int, ...], steps: tuple[int, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Stairs(values, steps)
