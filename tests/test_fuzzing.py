"""A slice of tests/fuzzing.py: what storage holds, mutated, is refused as such and nothing else comes of it."""

import pytest

from tests.fuzzing import TARGETS, fuzz


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_but_the_two_errors_comes_of_what_was_changed(target: str) -> None:
    found = fuzz(target, 200, seed=2)
    assert found["accepted"] < 100  # most changes matter
    assert found["accepted"] > 0  # and what does not is read
