"""The schedule of a rehearsal is a function of its seed."""

from collections import Counter

from cluster.rehearsal.schedule import GAP, last_step, schedule

KINDS = ("kill-worker", "kill-at-epoch", "store-slow")
LASTS = {"store-slow": (5.0, 20.0)}


def test_a_seed_gives_the_same_faults_and_another_one_others() -> None:
    first, again, other = (schedule(seed, 12, KINDS, 2, LASTS, 16, {}) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_each_kind_comes_as_often_as_another() -> None:
    for seed in range(20):
        blows = schedule(seed, 13, KINDS, 2, LASTS, 12.5, {})
        assert max(Counter(b.kind for b in blows).values()) == 5
        assert [b.number for b in blows] == list(range(1, 14))
        assert blows[-1].step + GAP <= last_step(blows, {})
        assert {b.worker for b in blows} <= {0, 1}
        for blow in blows:
            assert 5 <= blow.seconds <= 20 if blow.kind == "store-slow" else blow.seconds == 0


def test_a_kill_at_an_epoch_comes_where_one_ends() -> None:
    blows = schedule(0, 9, ("kill-at-epoch",), 2, {}, 16, {})
    assert all(blow.step % 16 == 0 for blow in blows)
    assert len({blow.step for blow in blows}) == 9
    assert blows[0].step >= GAP


def test_a_kind_that_lets_the_run_go_on_puts_off_what_follows() -> None:
    plain, later = (schedule(5, 9, KINDS, 2, LASTS, 16, {"store-slow": n}) for n in (0, 160))
    passed = 0
    for before, after in zip(plain, later, strict=True):
        assert after.kind == before.kind
        assert after.step == before.step + passed
        passed += 160 * (after.kind == "store-slow")
    assert passed == 480
    last = later[-1]
    assert last_step(later, {last.kind: 160}) == last.step + 2 * GAP + 160
