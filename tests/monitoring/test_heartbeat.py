import pytest

from monitoring.heartbeat import Beat, Heart
from monitoring.run_state import RunState


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_beat_says_where_the_loop_is_and_since_when() -> None:
    clock = Time()
    heart = Heart(clock)
    assert heart.beat() == Beat(RunState.STARTING, "", 0, 0, 0.0, None)
    heart.begin(20)
    heart.enter(RunState.TRAINING)
    heart.phase("data")
    clock.now += 3.0
    heart.phase("forward")
    clock.now += 7.0
    assert heart.beat() == Beat(RunState.TRAINING, "forward", 20, 4, 7.0, None)
    heart.step(9.0)
    assert (heart.beat().step, heart.beat().phase, heart.beat().still_s) == (21, "", 0.0)


def test_the_first_step_does_not_say_how_long_one_takes() -> None:
    heart = Heart()
    heart.begin(0)
    heart.step(90.0)
    assert heart.beat().p99_s is None
    for seconds in range(200):
        heart.step(float(seconds))
    assert heart.beat().p99_s == 198.0
    heart.begin(0)  # another run of a chain
    assert heart.beat().p99_s is None


@pytest.mark.parametrize("step", range(5))
def test_all_ranks_pass_the_same_marks(step: int) -> None:
    hearts = [Heart(), Heart()]
    for heart in hearts:
        for _ in range(step):
            heart.phase("forward")
            heart.step(0.1)
    assert hearts[0].beat().marks == hearts[1].beat().marks == 2 * step
