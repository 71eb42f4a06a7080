"""Whether a group hangs, as a function of heartbeats and a clock: what is noticed, and what is not a hang."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.hangs import PROCESS_S, Hang, Seen, Watcher, judge, limit, narrowed
from monitoring.heartbeat import LEAST_S, Beat
from monitoring.run_state import RunState

STORE_S = 600.0
STEP = Beat(RunState.TRAINING, "backward", step=30, marks=200, still_s=0.2, p99_s=0.1)
EXCUSED = st.sampled_from([RunState.STARTING, RunState.SAVING, RunState.EVALUATING])


def group(*beats: Beat, ages: tuple[float, ...] = ()) -> dict[int, Seen]:
    return {
        rank: Seen(beat, age)
        for rank, (beat, age) in enumerate(zip(beats, ages or (0.5,) * len(beats), strict=True))
    }


def test_a_process_of_which_nothing_is_heard_is_named_whoever_else_waits() -> None:
    waiting = replace(STEP, still_s=11.0)
    # It was heard of last with more marks than the others: they wait for it in a later step.
    seen = group(waiting, replace(STEP, marks=203, phase="data"), waiting, ages=(0.3, 10.5, 0.9))
    hang = judge(seen, 3, STORE_S)
    assert hang == Hang("stopped", (1,), 10.5, 31, "data")
    assert hang.words() == "stopped answering 10 s ago, in step 31 (data)"


def test_of_ranks_that_answer_the_one_that_is_behind_is_named() -> None:
    seen = group(replace(STEP, still_s=12.0), replace(STEP, marks=199, phase="forward", still_s=12.5))
    hang = judge(seen, 2, STORE_S)
    assert hang == Hang("blocked", (1,), 12.5, 31, "forward")
    assert hang.words() == "stuck for 12 s in step 31 (forward)"


def test_of_ranks_in_one_place_those_that_do_not_wait_are_behind() -> None:
    hang = judge(group(*[replace(STEP, still_s=11.0)] * 3), 3, STORE_S)
    assert hang is not None
    assert hang.ranks == (0, 1, 2)
    assert narrowed(hang, {0: True, 1: False, 2: True}).ranks == (1,)
    assert narrowed(hang, {0: True, 2: True}).ranks == (1,)  # it has not answered
    assert narrowed(hang, {0: True, 1: True, 2: True}).ranks == (0, 1, 2)


def test_one_worker_alone_may_hang_too() -> None:
    assert judge(group(replace(STEP, still_s=10.5)), 1, STORE_S) is not None


@given(st.floats(0.0, 1e4), st.integers(1, 8), st.data())
def test_the_bound_is_ten_seconds_or_ten_times_a_slow_step(
    p99_s: float, world: int, data: st.DataObject
) -> None:
    beats = [replace(STEP, p99_s=p99_s) for _ in range(world)]
    bound = limit(group(*beats))
    assert bound == max(LEAST_S, 10 * p99_s)
    rank = data.draw(st.integers(0, world - 1))
    for still, hangs in ((bound * 0.99, False), (bound * 1.01 + 0.01, True)):
        beats[rank] = replace(STEP, p99_s=p99_s, marks=STEP.marks - 1, still_s=still)
        hang = judge(group(*beats), world, STORE_S)
        assert (hang.ranks if hang else ()) == ((rank,) if hangs else ())


@given(
    st.lists(st.tuples(EXCUSED, st.floats(0.0, 1e5)), min_size=1, max_size=4),
    st.lists(st.floats(0.0, 1e5), max_size=4),
)
def test_no_alarm_while_those_behind_start_save_or_evaluate(
    behind: list[tuple[RunState, float]], waiting: list[float]
) -> None:
    beats = [replace(STEP, state=state, phase="", marks=100, still_s=still) for state, still in behind]
    beats += [replace(STEP, still_s=still) for still in waiting]
    assert judge(group(*beats), len(beats), STORE_S) is None


@given(st.floats(0.0, 1e5), st.floats(0.0, 1e5))
def test_no_alarm_in_the_first_step(still: float, others: float) -> None:
    first = replace(STEP, p99_s=None, marks=100, still_s=still)
    assert judge(group(first, replace(STEP, still_s=others)), 2, STORE_S) is None
    assert judge(group(first, replace(first, marks=101)), 2, STORE_S) is None


@given(st.floats(0.0, STORE_S + LEAST_S), st.floats(0.0, 1e5))
def test_no_alarm_for_a_slow_store_before_it_gives_up(still: float, others: float) -> None:
    reading = replace(STEP, phase="data", marks=199, still_s=still)
    assert judge(group(replace(STEP, still_s=others), reading), 2, STORE_S) is None
    assert (
        judge(group(replace(STEP, still_s=others), replace(reading, still_s=611.0)), 2, STORE_S) is not None
    )


@given(st.sampled_from([s for s in RunState if not s.final]), st.floats(0.0, PROCESS_S))
def test_a_process_outside_of_a_step_has_a_minute_for_a_sign_of_life(state: RunState, age: float) -> None:
    busy = replace(STEP, state=state, p99_s=None, phase="")
    assert judge(group(busy, busy, ages=(0.5, age)), 2, STORE_S) is None
    hang = judge(group(busy, busy, ages=(0.5, PROCESS_S + 1)), 2, STORE_S)
    assert hang is not None
    assert hang.ranks == (1,)


def test_nobody_is_missed_who_has_ended_or_was_not_there_yet() -> None:
    still = replace(STEP, still_s=1e4)
    assert judge({}, 2, STORE_S) is None
    assert judge(group(still), 2, STORE_S) is None
    for state in (state for state in RunState if state.final):
        assert judge(group(still, replace(STEP, state=state), ages=(0.5, 1e4)), 2, STORE_S) is None


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_watcher_says_so_when_it_has_seen_it_twice() -> None:
    clock = Time()
    watcher = Watcher(STORE_S, clock)
    hanging, fine = group(replace(STEP, still_s=11.0)), group(STEP)
    found = []
    for seen in (hanging, fine, hanging, hanging):
        clock.now += 1.0
        found.append(watcher.look(seen, 1) is not None)
    assert found == [False, False, False, True]


@pytest.mark.parametrize("gap", [6.0, 3600.0])
def test_a_watcher_that_was_away_begins_anew(gap: float) -> None:
    clock = Time()
    watcher = Watcher(STORE_S, clock)
    stale = group(STEP, STEP, ages=(gap, gap))
    clock.now += 1.0
    assert watcher.look(group(STEP, STEP), 2) is None
    clock.now += gap
    for _ in range(3):  # what is old here may be under way
        assert watcher.look(stale, 2) is None
        clock.now += 0.5
    assert watcher.look(group(STEP, STEP), 2) is None


@given(st.lists(st.floats(0.01, 3.0), min_size=1, max_size=30), st.integers(0, 2**32))
def test_steps_of_any_length_raise_no_alarm(steps: list[float], seed: int) -> None:
    """Ranks that are looked at once a second, wherever in a step of theirs, with heartbeats up to two seconds old."""
    clock, watcher, marks = Time(), None, 0
    watcher = Watcher(STORE_S, clock)
    for number, seconds in enumerate(steps * 5):
        marks += 6
        until, still = clock.now + seconds, 0.0
        while clock.now < until:
            clock.now += min(1.0, seconds)
            still += min(1.0, seconds)
            p99_s = max(steps) if number > 1 else None
            beats = [replace(STEP, marks=marks + rank, still_s=still, p99_s=p99_s) for rank in (0, 1)]
            assert watcher.look(group(*beats, ages=(0.1, (seed % 20) / 10)), 2) is None
