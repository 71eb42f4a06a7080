import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.run_state import ACTIVITIES, Past, RunState, Timeline


def test_time_goes_to_the_state_it_was_spent_in() -> None:
    run = Timeline.begin(now=100.0)
    run.enter(RunState.TRAINING, now=110.0)
    run.wait(3.0)
    run.enter(RunState.SAVING, now=130.0)
    run.enter(RunState.EVALUATING, now=131.0)
    run.enter(RunState.FINISHED, now=135.0)
    split = run.split(now=135.0)
    assert split == {
        "starting": 10.0, "productive": 17.0, "data_wait": 3.0, "saving": 1.0, "evaluating": 4.0,
        "stalled": 0.0, "lost": 0.0
    }  # fmt: skip
    assert run.goodput(now=135.0) == pytest.approx(17 / 35)


def test_a_killed_process_loses_what_it_did_after_its_checkpoint() -> None:
    run = Timeline.begin(now=0.0)
    run.enter(RunState.TRAINING, now=10.0)
    saved = json.loads(json.dumps(run.saved(now=50.0)))  # as a checkpoint keeps it
    run.enter(RunState.TRAINING, now=90.0)  # 40 s that no checkpoint has; then a kill, and 10 s of nothing
    again = Timeline.resumed(saved, now=100.0)
    again.enter(RunState.TRAINING, now=105.0)
    split = again.split(now=205.0)
    assert split["productive"] == 40.0 + 100.0
    assert split["lost"] == 50.0
    assert sum(split.values()) == 205.0
    assert again.goodput(now=205.0) == pytest.approx(140 / 205)


def test_time_in_which_nobody_comes_forward_is_not_productive() -> None:
    run = Timeline.begin(now=0.0)
    run.enter(RunState.TRAINING, now=10.0)
    before = run.goodput(now=40.0)
    run.stall(60.0)
    split = run.split(now=100.0)
    assert (split["productive"], split["stalled"]) == (30.0, 60.0)
    assert run.goodput(now=100.0) < before


def test_a_hang_that_ended_a_process_is_stalled_and_the_rest_lost() -> None:
    run = Timeline.begin(now=0.0)
    run.enter(RunState.TRAINING, now=10.0)
    saved = json.loads(json.dumps(run.saved(now=50.0)))
    # Steps until 60, then a hang, noticed at 75; another process at 85.
    again = Timeline.resumed(saved, now=85.0, past=Past(stalls=((20.0, 30.0), (60.0, 75.0))))
    again.enter(RunState.TRAINING, now=90.0)
    split = again.split(now=90.0)
    assert split["stalled"] == 15.0, "the checkpoint knows of the hang before it"
    assert split["lost"] == 20.0
    assert sum(split.values()) == 90.0
    later = Timeline.resumed(
        again.saved(now=100.0), now=110.0, past=Past(stalls=((20.0, 30.0), (60.0, 75.0)))
    )
    assert later.split(now=110.0)["stalled"] == 15.0


def test_the_clock_starts_at_submission_and_at_the_first_start() -> None:
    run = Timeline.begin(now=100.0, past=Past(submitted=40.0))
    run.enter(RunState.TRAINING, now=110.0)
    assert run.split(now=110.0)["starting"] == 70.0
    # A start before it was killed and never saved; it left a trace.
    run = Timeline.begin(now=100.0, first=10.0, past=Past(submitted=40.0))
    run.enter(RunState.TRAINING, now=110.0)
    split = run.split(now=110.0)
    assert (split["starting"], split["lost"], sum(split.values())) == (70.0, 30.0, 100.0)
    saved = run.saved(now=110.0)
    again = Timeline.resumed(saved, now=200.0, past=Past(submitted=150.0))
    assert again.split(now=200.0)["starting"] == 70.0 + 50.0
    # Submitted while the one before it still ran.
    again = Timeline.resumed(saved, now=200.0, past=Past(submitted=50.0))
    assert sum(again.split(now=200.0).values()) == 190.0


def test_what_older_versions_saved_goes_on() -> None:
    old = {"first_start": 0.0, "seconds": {"productive": 30.0, "starting": 10.0}}
    again = Timeline.resumed(old, now=100.0)
    assert again.split(now=100.0)["lost"] == 60.0


def test_final_states_count_no_more_time() -> None:
    run = Timeline.begin(now=0.0)
    run.enter(RunState.TRAINING, now=0.0)
    run.enter(RunState.INTERRUPTED, now=10.0)
    assert run.split(now=30.0)["productive"] == 10.0
    assert [s.value for s in RunState if s.final] == ["finished", "failed", "interrupted"]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([s for s in RunState if not s.final]), st.floats(0.0, 1e4), st.booleans()),
        max_size=30,
    )
)
def test_the_parts_add_up_to_the_wall_time(events: list[tuple[RunState, float, bool]]) -> None:
    now = 1e6
    run = Timeline.begin(now=now)
    for state, seconds, killed in events:
        saved = run.saved(now=now)
        run.enter(state, now=now)
        now += seconds
        if killed:
            run = Timeline.resumed(saved, now=now)
    split = run.split(now=now)
    assert set(split) == set(ACTIVITIES)
    assert all(part >= 0 for part in split.values())
    assert sum(split.values()) == pytest.approx(now - 1e6, abs=1e-3)
    assert 0.0 <= run.goodput(now=now) <= 1.0


def test_a_clock_set_back_takes_nothing_away() -> None:
    run = Timeline.begin(now=100.0)
    run.enter(RunState.TRAINING, now=110.0)
    assert run.split(now=50.0)["starting"] == 10.0
    assert 0.0 <= run.goodput(now=50.0) <= 1.0


@pytest.mark.parametrize(
    "saved", [{}, {"first_start": 1, "seconds": None}, {"first_start": "x", "seconds": {}}]
)
def test_a_damaged_record_is_an_error(saved: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="damaged"):
        Timeline.resumed(saved)
