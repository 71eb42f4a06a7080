"""A slice of tests/fuzzing.py: what storage holds, mutated, is refused as such and nothing else comes of it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzzing import TARGETS, Execution, execute, fuzz, samples


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_but_the_two_errors_comes_of_what_was_changed(target: str) -> None:
    found = fuzz(target, 200, seed=2, measured=False)
    assert found.counts["accepted"] < 100  # most changes matter
    assert found.counts["accepted"] > 0  # and what does not is read


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_a_sample_takes_no_more_than_twice_what_its_set_allows(seed: int) -> None:
    """Of clips that are larger than what a reader takes besides: 64 x 64; what inflates would take 2 MiB."""
    # Once unmeasured, for it loads what only the first of a process does.
    execute(next(samples(random.Random(seed), 64)), measured=False)
    _, size, _ = execute(next(samples(random.Random(seed), 64)))
    assert size > 0


def test_what_takes_more_is_told() -> None:
    with pytest.raises(AssertionError, match=r"^\d+ bytes, more than twice 1000"):
        execute(Execution(lambda: bytes(2001), 1000))
