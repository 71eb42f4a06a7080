"""Ranks that come and go, and kills at every batch around an epoch's end: each sample once an epoch all the same."""

import time
from collections import Counter

import numpy as np
import pytest

from data_shards.order import Order

BATCH, PHASES = 24, (1, 8, 3, 8)  # ranks, one number after the other
COUNTS = (40, 23, 57, 31)  # 151 samples, of which a batch is no part: epochs end within one


def read(order: Order, step: int, world: int) -> list[tuple[int, int]]:
    """What all ranks of a world read for a step, each by itself, by position."""
    share = BATCH // world
    found: list[tuple[int, int]] = []
    for rank in range(world):
        shards, samples = order.batch(step, BATCH, range(rank * share, (rank + 1) * share))
        found += zip(shards.tolist(), samples.tolist(), strict=True)
    return found


@pytest.mark.parametrize("saved_every", [1, 2, 5])
def test_no_sample_is_lost_or_seen_twice(saved_every: int) -> None:
    """A kill at every step of three epochs, which falls back to the newest save and goes on with other ranks."""
    order = Order(COUNTS, seed=5, streams=8, block=4)
    last = -(-3 * order.samples // BATCH)
    wanted = [sample for step in range(last) for sample in read(order, step, 1)]
    for killed in range(1, last):
        history: list[list[tuple[int, int]]] = []
        phases = iter(PHASES[1:])
        world, kills = PHASES[0], {killed, killed + 1, killed + 2}
        while len(history) < last:
            history.append(read(Order(COUNTS, seed=5, streams=8, block=4), len(history), world))
            if len(history) in kills:
                kills.discard(len(history))
                del history[len(history) // saved_every * saved_every :]
                world = next(phases)
        assert [sample for batch in history for sample in batch] == wanted
    for epoch in range(3):
        seen = Counter(wanted[epoch * order.samples : (epoch + 1) * order.samples])
        assert len(seen) == order.samples
        assert set(seen.values()) == {1}


def test_a_late_step_costs_what_an_early_one_does() -> None:
    """By turns, so that what else the machine does is in both, and by the least of each."""
    counts = tuple(np.random.default_rng(0).integers(500, 1500, 100).tolist())

    def cost(step: int) -> float:
        order = Order(counts, seed=1)  # as a resume makes it, the caches of epochs aside
        begun = time.thread_time()
        for offset in range(20):
            order.batch(step + offset, 64, range(64))
        return time.thread_time() - begun

    early, late = np.array([(cost(10), cost(1_000_000)) for _ in range(40)]).min(axis=0)
    assert late <= 1.2 * early
