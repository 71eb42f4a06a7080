"""The order is a pure function: whole epochs, any division into ranks, any start."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_shards.config import DataConfig, default_streams
from data_shards.order import Order, mix

# Orders are made in the tests: type checks draw random numbers, which hypothesis forbids in a strategy.
PARAMETERS = st.fixed_dictionaries(
    {
        "counts": st.lists(st.integers(1, 40), min_size=1, max_size=8).map(tuple),
        "seed": st.integers(0, 2**63 - 1),
        "streams": st.integers(1, 70),
        "block": st.integers(1, 20),
    }
)


def ids(order: Order, positions: np.ndarray) -> list[tuple[int, int]]:
    shards, samples = order.locate(np.asarray(positions, np.int64))
    return list(zip(shards.tolist(), samples.tolist(), strict=True))


@settings(max_examples=150, deadline=None)
@given(PARAMETERS, st.integers(0, 1000))
def test_every_epoch_holds_each_sample_once(parameters: dict[str, Any], epoch: int) -> None:
    order = Order(**parameters)
    n = order.samples
    everything = [(shard, sample) for shard, size in enumerate(order.counts) for sample in range(size)]
    assert sorted(ids(order, np.arange(epoch * n, (epoch + 1) * n))) == everything


@settings(max_examples=100, deadline=None)
@given(PARAMETERS, st.integers(1, 50), st.integers(0, 10_000), st.data())
def test_ranks_share_out_the_same_global_batch(
    parameters: dict[str, Any], batch: int, step: int, data: st.DataObject
) -> None:
    order = Order(**parameters)
    whole = np.stack(order.batch(step, batch, range(batch)))
    cuts = sorted(data.draw(st.lists(st.integers(0, batch), max_size=5)))
    parts = [
        np.stack(order.batch(step, batch, range(a, b)))
        for a, b in zip([0, *cuts], [*cuts, batch], strict=True)
    ]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    assert [tuple(pair) for pair in whole.T.tolist()] == ids(
        order, np.arange(step * batch, (step + 1) * batch)
    )


@settings(max_examples=60, deadline=None)
@given(PARAMETERS, st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_a_position_is_found_without_the_ones_before(
    parameters: dict[str, Any], positions: list[int]
) -> None:
    order = Order(**parameters)
    assert ids(order, np.array(positions)) == [ids(order, np.array([p]))[0] for p in positions]


def test_the_order_never_changes() -> None:
    """Numbers written down once: a release that moves them breaks every resumed run."""
    order = Order(counts=(5, 3, 4), seed=7, streams=4, block=2)
    shards, samples = order.locate(np.arange(12))
    assert shards.tolist() == [1, 0, 1, 2, 0, 0, 1, 2, 0, 0, 2, 2]
    assert samples.tolist() == [2, 3, 1, 0, 0, 2, 0, 1, 1, 4, 3, 2]
    first = 0xE220A8397B1DCDAF  # of splitmix64
    assert mix(np.array([0], np.uint64), np.array([0])).tolist() == [first]


def test_every_pair_of_seed_and_epoch_has_an_order_of_its_own() -> None:
    orders = set()
    for seed in range(16):
        places = ids(Order(counts=(60, 40), seed=seed), np.arange(16 * 100))
        orders |= {tuple(places[epoch * 100 : (epoch + 1) * 100]) for epoch in range(16)}
    assert len(orders) == 256


@pytest.mark.parametrize("samples", [20, 64, 100, 367, 1000, 5000])
@pytest.mark.parametrize("batch", [4, 16])
def test_a_batch_is_no_run_of_neighbours(samples: int, batch: int) -> None:
    """With the default streams, clips of a batch are about as far apart as random ones: neighbours are of one scene."""
    counts = (samples // 3, samples // 3, samples - 2 * (samples // 3))
    defaults = DataConfig("set")
    distances = []
    for seed in range(5):
        order = Order(counts, seed, default_streams(batch), defaults.block)
        shards, places = order.locate(np.arange(4 * samples // batch * batch))
        whole = (places + np.cumsum((0, *counts))[shards]).reshape(-1, batch)
        distances.append(np.abs(np.diff(whole, axis=1)).ravel() / samples)
    distance = np.concatenate(distances)
    # Pieces of few streams, each once, are a little further apart.
    assert 0.95 < np.mean(distance) / (1 / 3) < 1.25
    assert np.mean(distance < 0.04) < 1 - 0.96**2  # the share of random pairs that are so close


def test_epochs_and_seeds_differ() -> None:
    for size in (20, 50):
        order = Order(counts=(size, size), seed=0)
        first, second = ids(order, np.arange(2 * size)), ids(order, np.arange(2 * size, 4 * size))
        other = ids(Order(counts=(size, size), seed=1), np.arange(2 * size))
        assert sum(a == b for a, b in zip(first, second, strict=True)) < size / 4
        assert sum(a == b for a, b in zip(first, other, strict=True)) < size / 4


def test_streams_are_read_nearly_in_sequence() -> None:
    """A stream's positions, in time, walk through the concatenation block by block."""
    order = Order(counts=(100,) * 10, seed=3, streams=10, block=16)
    shards, samples = order.locate(np.arange(1000))
    for stream in range(10):
        walk = samples[stream::10]
        assert len(set(shards[stream::10])) == 1  # streams of 100 samples, shards of 100
        assert np.all(np.abs(walk - np.arange(100)) < 17)  # six blocks of 16 or 17
        assert not np.array_equal(walk, np.arange(100))


def test_shuffles_are_uniform() -> None:
    """Which sixth of the shards comes first, and the 24 orders of four samples: chi-squared."""
    shards = Order(counts=(1,) * 600, seed=0, streams=1, block=1)
    first = np.bincount(shards.locate(np.arange(3000) * 600)[0] // 100, minlength=6)
    block = Order(counts=(4 * 4800,), seed=0, streams=1, block=4)
    orders = Counter(tuple(row) for row in (block.locate(np.arange(4 * 4800))[1] % 4).reshape(-1, 4).tolist())
    # 0.999 quantiles of chi-squared with 5 and with 23 degrees of freedom.
    assert np.sum((first - 500) ** 2 / 500) < 20.5
    assert len(orders) == 24
    assert sum((n - 200) ** 2 / 200 for n in orders.values()) < 49.7


def test_two_epochs_can_meet_in_a_batch() -> None:
    order = Order(counts=(3, 4), seed=0)
    batch = ids(order, np.arange(5, 5 + 20))
    assert batch[2:9] == ids(order, np.arange(7, 14))
    assert sorted(set(batch[2:9])) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize(
    "bad",
    [{"counts": ()}, {"counts": (3, 0)}, {"streams": 0}, {"block": 0}, {"seed": -1}, {"seed": 1 << 63}],
)
def test_bad_arguments_are_named(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Order(**{"counts": (1,), "seed": 0} | bad)  # type: ignore[arg-type]
