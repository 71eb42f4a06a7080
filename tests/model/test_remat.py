"""Policies and plans, against a brute-force optimum and the binomials of Revolve."""

from functools import cache
from math import comb, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.cost import Cost
from model.remat import (
    DEEPEST,
    Plan,
    Remat,
    binomial_optimum,
    blocks,
    chunks,
    fit,
    most_waiting,
    peak_bytes,
    recomputed_steps,
)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("none", Remat("none")),
        ("every:8", Remat("every", 8)),
        ("sqrt", Remat("sqrt")),
        ("bytes:1000", Remat("bytes", 1000)),
        ("bytes:3K", Remat("bytes", 3 * 1024)),
        ("bytes:256M", Remat("bytes", 256 * 1024**2)),
        ("bytes:2G", Remat("bytes", 2 * 1024**3)),
    ],
)
def test_parse(text: str, policy: Remat) -> None:
    assert Remat.parse(text) == policy
    assert Remat.parse(str(policy)) == policy


@pytest.mark.parametrize(
    "text",
    [
        *("", "non", "every", "every:", "every:0", "every:-1", "every:2.5", "Every:4", "sqrt:3", "none:1"),
        *("bytes", "bytes:0", "bytes:M", "bytes:1MK", "bytes:KK", "bytes:5T", "bytes:-1M"),
    ],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="remat: "):
        Remat.parse(text)


@pytest.mark.parametrize(
    ("policy", "steps", "plan"),
    [
        ("none", 5, (5,)),
        ("every:4", 12, ((4,), (4,), 4)),
        ("every:4", 13, ((1,), (4,), (4,), 4)),
        ("every:4", 3, (3,)),
        ("every:1", 3, ((1,), (1,), 1)),
        ("sqrt", 1, (1,)),
        ("sqrt", 16, ((4,), (4,), (4,), 4)),
        ("sqrt", 17, ((2,), (5,), (5,), 5)),
    ],
)
def test_chunks(policy: str, steps: int, plan: Plan) -> None:
    assert Remat.parse(policy).plan(steps) == plan


def executions(plan: Plan) -> tuple[int, int]:
    """Steps run and states held at most, by acting the plan out: forward, then backward from its end."""
    runs, held, most = 0, 0, 0

    def forward(part: Plan) -> int:
        return sum(s if isinstance(s, int) else forward(s) for s in part)

    def reverse(part: Plan) -> None:
        nonlocal runs, held, most
        runs += forward(part)
        held += sum(not isinstance(s, int) for s in part)
        most = max(most, held)
        for segment in reversed(part):
            if not isinstance(segment, int):
                held -= 1  # becomes the state being worked on
                reverse(segment)

    reverse(plan)
    return runs, most


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 9), st.integers(0, 200))
def test_counts_of_a_plan_are_those_of_acting_it_out(steps: int, step: int, state: int, spare: int) -> None:
    cost = Cost(step, state, work=3)
    plan = fit(steps, cost, cost.work + step + 4 * state + spare)
    runs, most = executions(plan)
    assert sum(blocks(plan)) == steps
    assert recomputed_steps(plan) == runs - steps
    assert most_waiting(plan) == most
    assert peak_bytes(plan, cost) <= cost.work + step + 4 * state + spare


def revolve(steps: int, slots: int) -> float:
    """Fewest recomputed single steps, by the recursion from which Griewank & Walther derive the binomials."""

    @cache
    def best(length: int, free: int) -> float:
        if length == 1:
            return 0
        return (
            min((m + best(length - m, free - 1) + best(m, free) for m in range(1, length)), default=inf)
            if free
            else inf
        )

    return best(steps, slots)


@pytest.mark.parametrize("slots", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 41])
def test_single_steps_reach_the_binomial_optimum(steps: int, slots: int) -> None:
    assert binomial_optimum(steps, slots) == revolve(steps, slots)
    # A step that costs more than all states together: blocks stay single wherever states wait.
    plan = fit(steps, Cost(step=1000, state=10, work=5), 5 + 1000 + 10 * slots)
    assert recomputed_steps(plan) == revolve(steps, slots)
    assert most_waiting(plan) <= slots


def test_binomial_optimum_at_its_corners() -> None:
    """With s slots and r sweeps, C(s + r, s) steps are reached: each is recomputed r times but for the taped ones."""
    for slots in range(1, 7):
        for sweeps in range(1, 6):
            reach = comb(slots + sweeps, slots)
            assert binomial_optimum(reach, slots) == sweeps * reach - comb(slots + sweeps, sweeps - 1)


def exhaustive(steps: int, cost: Cost, budget: int) -> float:
    """Fewest recomputed steps over all plans within the budget: every cut of every segment, no cleverness."""

    @cache
    def sequence(length: int, room: int, may_end: bool) -> float:
        """The cheapest plan (tuple) of `length` steps within `room` bytes beside the work."""
        tape = 0.0 if may_end and length * cost.step <= room else inf
        cuts = (
            m + sequence(m, room, True) + sequence(length - m, room - cost.state, True)
            for m in range(1, length)
        )
        return min(tape, min(cuts, default=inf)) if room >= cost.step else inf

    return sequence(steps, budget - cost.work, True)


@pytest.mark.parametrize("steps", [2, 5, 12, 24])
@pytest.mark.parametrize("cost", [Cost(7, 2, 9), Cost(3, 5, 4), Cost(10, 10, 0), Cost(4, 1, 30)])
@pytest.mark.parametrize("share", [0.2, 0.35, 0.6, 0.9])
def test_byte_budgets_reach_the_exhaustive_optimum(steps: int, cost: Cost, share: float) -> None:
    budget = max(cost.work + cost.step + cost.state, int(share * (steps * cost.step + cost.work)))
    plan = fit(steps, cost, budget)
    assert peak_bytes(plan, cost) <= budget
    best = exhaustive(steps, cost, budget)
    assert best <= recomputed_steps(plan) <= 1.05 * best


def test_an_ample_budget_recomputes_nothing() -> None:
    assert fit(50, Cost(10, 4, 20), 520) == (50,)
    assert recomputed_steps(fit(50, Cost(10, 4, 20), 519)) > 0


@pytest.mark.parametrize("steps", [1, 2, 20, 65, 66, 300])
def test_too_small_a_budget_names_the_least_that_works(steps: int) -> None:
    cost = Cost(step=10, state=4, work=20)
    with pytest.raises(ValueError, match=r"the least that works here is 'bytes:(\d+)'") as error:
        fit(steps, cost, 1)
    least = int(str(error.value).rpartition(":")[2].rstrip("'"))
    plan = fit(steps, cost, least)
    assert peak_bytes(plan, cost) <= least
    assert depth(plan) <= DEEPEST
    with pytest.raises(ValueError, match="the least that works"):
        fit(steps, cost, least - 1)


def depth(plan: Plan) -> int:
    return max((1 + depth(s) for s in plan if not isinstance(s, int)), default=0)


@pytest.mark.parametrize("steps", [128, 512])
def test_no_budget_nests_deeper_than_python_can(steps: int) -> None:
    cost = Cost(step=100, state=10, work=0)
    least = 120
    assert max(depth(fit(steps, cost, least + extra)) for extra in (0, 10, 20, 50, 100, 200)) <= DEEPEST


def test_states_that_cost_nothing() -> None:
    """A cell without a state still has a plan."""
    assert recomputed_steps(fit(9, Cost(step=5, state=0, work=0), 5)) == 8


def test_longer_chunks_than_steps() -> None:
    assert chunks(3, 100) == (3,)


@pytest.mark.parametrize(
    ("budget", "plan"), [(1, ((1,),) * 6 + (1,)), (45, ((1,), (2,), (2,), 2)), (500, (7,))]
)
def test_no_budget_is_too_small_without_a_backward_pass(budget: int, plan: Plan) -> None:
    """It bounds the steps at once, 20 + 10 n bytes, where that can be done."""
    assert Remat("bytes", budget).plan(7, Cost(step=10, state=4, work=20), backward=False) == plan
