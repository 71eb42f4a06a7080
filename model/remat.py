"""What to keep of a recurrence for its backward pass, and what to compute again: policies and the plans they make.

A plan is a nested tuple. An `int` is a block of that many consecutive steps; a tuple is a sequence of blocks and
tuples in the order of time. What stands directly in the plan is run with its intermediate results kept. A tuple
inside a tuple is a *checkpoint*: only the state that enters it is kept, and the backward pass runs it again, by the
same rule. So `((4,), (4,), 4)` is "every four steps, the last four kept", and a block runs 1 + its depth times.

`cost.py` measures what a step costs, `unroll.py` executes plans; this file only counts. Reading order: `Remat.plan`,
`chunks`, `fit`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from math import comb, isqrt
from typing import Any, Literal, TypeAlias

import torch

from model.cost import Cost

Plan: TypeAlias = tuple[Any, ...]  # of `int | Plan`: beartype follows recursive aliases only so deep

DEEPEST = 64  # checkpoints in checkpoints: each is a dozen Python frames, and Python allows 1000
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


class BudgetError(ValueError):
    """A byte budget is too small for a step of the recurrence and its backward pass."""


@dataclass(frozen=True)
class Remat:
    """A policy. `amount` is the chunk length of `every` (steps) or the budget of `bytes` (bytes), else 0."""

    kind: Literal["none", "every", "sqrt", "bytes"] = "none"
    amount: int = 0

    def __post_init__(self) -> None:
        if self.kind in ("every", "bytes") and self.amount < 1:
            raise ValueError(
                f"remat: {self.kind} got {self.amount}, needs at least 1, as in 'every:8', 'bytes:256M'"
            )

    @classmethod
    def parse(cls, text: str) -> "Remat":
        """The policy that `text` names: `none`, `every:8` (steps), `sqrt` or `bytes:256M` (K, M, G are powers of 1024).

        Raises:
            ValueError: any other text.
        """
        kind, _, amount = text.partition(":")
        if kind == "none" and not amount:
            return cls()
        if kind == "sqrt" and not amount:
            return cls("sqrt")
        if kind == "every" and amount.isdecimal():
            return cls("every", int(amount))
        digits = amount.rstrip("KMG")
        if kind == "bytes" and digits.isdecimal() and amount[len(digits) :] in UNITS:
            return cls("bytes", int(digits) * UNITS[amount[len(digits) :]])
        raise ValueError(
            f"remat: got {text!r}, allowed are 'none', 'every:N' (steps), 'sqrt' and 'bytes:N' (K, M, G)"
        )

    def __str__(self) -> str:
        return f"{self.kind}:{self.amount}" if self.amount else self.kind

    def plan(self, steps: int, cost: Cost | None = None, *, backward: bool = True) -> Plan:
        """The plan for a recurrence of `steps` steps; only `bytes` needs its `cost`.

        Without a `backward` pass no state waits and every plan has the same result: a byte budget then only bounds
        the blocks, down to single steps, and is never too small. Else a run could not be scored on larger batches.

        Raises:
            BudgetError: the byte budget is too small; says the least that works.
        """
        if self.kind == "every":
            return chunks(steps, self.amount)
        if self.kind == "sqrt":
            return chunks(steps, 1 + isqrt(steps - 1))
        if self.kind == "bytes":
            assert cost is not None, "a byte budget is planned from a measured cost"
            if not backward:
                return chunks(steps, max(1, (self.amount - cost.work) // max(1, cost.step)))
            return fit(steps, cost, self.amount)
        return (steps,)


def chunks(steps: int, length: int) -> Plan:
    """Chunks of `length` steps, all but the last recomputed; a remainder comes first, so that the last is full."""
    full, rest = divmod(steps, length)
    lengths = ([rest] if rest else []) + [length] * full
    return (*((n,) for n in lengths[:-1]), lengths[-1])


@lru_cache(maxsize=64)
def fit(steps: int, cost: Cost, budget: int) -> Plan:
    """The plan with the fewest recomputed steps whose reckoned peak is within `budget` bytes.

    Exact dynamic programme over (length l, states k that wait to the left). A block needs
    `k state + l step + work` bytes; otherwise its first m steps become a checkpoint:

        R(l, k) = 0 if the block fits, else min over 0 < m < l of  m + R(l - m, k + 1) + R(m, k).

    Where blocks are single steps, this is Revolve (Griewank & Walther 2000, Algorithm 799) and R(l, 0) with room for s
    states is its binomial t(l, s) = r l - C(s + r, r - 1). Unlike Revolve, blocks grow where fewer states
    wait. Takes O(steps^2 states) vectorised operations, once per shape (cached).

    Raises:
        BudgetError: one step at a time does not fit, or only with each step recomputed more than `DEEPEST` times; says
            the least budget that works.
    """
    spare = budget - cost.work
    if spare >= steps * cost.step:
        return (steps,)
    slots = next(s for s in count(1) if comb(s + DEEPEST, s) >= steps)
    if spare < slots * cost.state + cost.step:
        least = cost.work + min(slots * cost.state + cost.step, steps * cost.step)
        raise BudgetError(f"remat: got 'bytes:{budget}', the least that works here is 'bytes:{least}'")
    waiting = steps - 1  # the most states that can ever wait
    if cost.state:
        waiting = min(waiting, (spare - cost.step) // cost.state)
    longest = torch.tensor([(spare - k * cost.state) // max(cost.step, 1) for k in range(waiting + 1)])
    least_work = torch.zeros(waiting + 1, steps + 1)  # [k, l]; exact in float32 below 2^24 steps
    split = torch.zeros(waiting + 1, steps + 1, dtype=torch.long)
    for length in range(2, steps + 1):
        m = torch.arange(length - 1, 0, -1)  # of equally good cuts the first wins: fewer, longer blocks
        work, best = (m + least_work[1:, length - m] + least_work[:-1, m]).min(dim=1)
        least_work[:-1, length], split[:-1, length] = work, m[best]
        least_work[-1, length] = torch.inf
        least_work[length <= longest, length] = 0.0
        split[length <= longest, length] = 0
    return _sequence(split.tolist(), steps, 0)


def _sequence(split: list[list[int]], length: int, waiting: int) -> Plan:
    segments: list[int | Plan] = []
    while first := split[waiting][length]:
        segments.append(_sequence(split, first, waiting))
        length, waiting = length - first, waiting + 1
    return (*segments, length)


def blocks(plan: Plan) -> Iterator[int]:
    """The lengths of the plan's blocks in the order of time."""
    for segment in plan:
        if isinstance(segment, int):
            yield segment
        else:
            yield from blocks(segment)


def recomputed_steps(plan: Plan) -> int:
    """How many steps the backward pass runs again."""
    return sum(0 if isinstance(s, int) else sum(blocks(s)) + recomputed_steps(s) for s in plan)


def peak_bytes(plan: Plan, cost: Cost, waiting: int = 0) -> int:
    """The reckoned peak: over all blocks, the states that wait to its left, its steps, and the work of one."""
    peak = 0
    for segment in plan:
        if isinstance(segment, int):
            peak = max(peak, waiting * cost.state + segment * cost.step + cost.work)
        else:
            peak, waiting = max(peak, peak_bytes(segment, cost, waiting)), waiting + 1
    return peak


def most_waiting(plan: Plan) -> int:
    """The most checkpointed states that are held at once (Revolve's number of slots)."""
    return max(i if isinstance(s, int) else i + most_waiting(s) for i, s in enumerate(plan))


def binomial_optimum(steps: int, slots: int) -> int:
    """The fewest recomputed steps with room for `slots` states, the first among them, and one taped step.

    t(l, s) = r l - C(s + r, r - 1) with the least r for which l <= C(s + r, s) (Griewank & Walther 2000, eq. 3).
    """
    repeats, reach, before = 0, 1, 0  # reach = C(s + r, s), before = C(s + r, r - 1)
    while reach < steps:
        repeats += 1
        before = before * (slots + repeats) // (repeats - 1) if repeats > 1 else 1
        reach = reach * (slots + repeats) // repeats
    return repeats * steps - before
