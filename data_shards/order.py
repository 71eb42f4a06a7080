"""Which samples make up global batch `step`: a pure function of (seed, step), whoever reads them.

Shards are shuffled by (seed, epoch). Their concatenation of N samples is cut into V streams of N // V or N // V + 1
samples, and each stream into equal blocks whose samples are shuffled inside the block. Position p = step * batch + slot
of the endless sequence is place q = p mod N of epoch p // N, which is sample q // V of stream q mod V. So every
epoch holds each sample once, for any N; streams are read nearly in sequence, V of them mixed; and a step is found
without looking at the ones before it. A global batch may span two epochs.

Which piece of the concatenation is stream 0, 1, ... is drawn by (seed, epoch) too: a batch of fewer than V takes
streams of neighbouring numbers, and neighbouring pieces are often of one scene. And a small set has fewer streams,
since a stream shorter than a block is hardly shuffled, and one of a single sample not at all.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int64, UInt64

from data_shards.mistake import UserError


@dataclass(frozen=True)
class Order:
    """The order of one split.

    Args:
        counts: samples of each shard, in the manifest's order.
        seed: of the shuffles.
        streams: the number of places in the split that are read at the same time; fewer where a stream would be
            shorter than a block.
        block: samples of a stream, at least, that are shuffled among themselves; about streams * block samples mix.
    """

    counts: tuple[int, ...]
    seed: int
    streams: int = 64
    block: int = 16

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 1:
            raise ValueError(f"counts {self.counts} must be at least 1 for each shard")
        if self.streams < 1 or self.block < 1:
            raise ValueError(f"streams {self.streams} and block {self.block} must be at least 1")
        if not 0 <= self.seed < 1 << 63:
            raise UserError(f"seed {self.seed} must be from 0 to 2**63 - 1")

    @property
    def samples(self) -> int:
        """N, the samples of one epoch."""
        return sum(self.counts)

    @property
    def parallel(self) -> int:
        """V, the streams there are."""
        return max(1, min(self.streams, self.samples // self.block))

    @property
    def longest(self) -> int:
        """Samples of the longest block."""
        length = self.samples // self.parallel
        return max(-(-n // max(1, n // self.block)) for n in (length, length + 1))

    def batch(
        self, step: int, size: int, slots: range
    ) -> tuple[Int64[np.ndarray, "b"], Int64[np.ndarray, "b"]]:
        """(shard, sample in it) of each of `slots` of the global batch `step` of `size` samples."""
        return self.locate(step * size + np.asarray(slots, np.int64))

    def locate(
        self, positions: Int64[np.ndarray, "p"]
    ) -> tuple[Int64[np.ndarray, "p"], Int64[np.ndarray, "p"]]:
        """(shard, sample in it) at each position of the endless sequence."""
        v = self.parallel
        epochs, places = np.divmod(positions, self.samples)
        offsets, streams = np.divmod(places, v)
        lengths = _lengths(self.samples, v)[streams]
        number = np.maximum(1, lengths // self.block)  # of blocks; the first `longer` hold one sample more
        sizes, longer = np.divmod(lengths, number)
        blocks = np.maximum(offsets // (sizes + 1), (offsets - longer) // sizes)
        firsts = blocks * sizes + np.minimum(blocks, longer)
        sizes += blocks < longer
        places = firsts + self._shuffle(epochs, streams, blocks, sizes, offsets - firsts)
        shards, samples = np.empty_like(places), np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            within = _starts(self.samples, v, self.seed, int(epoch))[streams[here]] + places[here]
            order = _shuffled_shards(len(self.counts), self.seed, int(epoch))
            nth, samples[here] = shards_and_samples(np.asarray(self.counts)[order], within)
            shards[here] = order[nth]
        return shards, samples

    def _shuffle(
        self,
        epochs: Int64[np.ndarray, "p"],
        streams: Int64[np.ndarray, "p"],
        blocks: Int64[np.ndarray, "p"],
        sizes: Int64[np.ndarray, "p"],
        places: Int64[np.ndarray, "p"],
    ) -> Int64[np.ndarray, "p"]:
        """Where the shuffle of its block sends each place: the rank of random keys."""
        inside = np.arange(sizes.max(initial=1))
        keys = mix(mix(mix(_key(self.seed, 0, epochs), streams), blocks)[:, None], inside)
        # A short block's end stays last.
        keys = np.where(inside < sizes[:, None], keys, np.iinfo(np.uint64).max)
        order: Int64[np.ndarray, "p k"] = np.argsort(keys, axis=1, kind="stable")
        return np.take_along_axis(order, places[:, None], axis=1)[:, 0]


def shards_and_samples(
    counts: Int64[np.ndarray, "s"], numbers: Int64[np.ndarray, "p"]
) -> tuple[Int64[np.ndarray, "p"], Int64[np.ndarray, "p"]]:
    """(shard, sample in it) of samples numbered through all shards, which hold `counts` of them, one after another."""
    ends = np.cumsum(counts)
    shards = np.searchsorted(ends, numbers, side="right")
    return shards, numbers - ends[shards] + counts[shards]


@lru_cache(maxsize=4)
def _shuffled_shards(count: int, seed: int, epoch: int) -> Int64[np.ndarray, "s"]:
    """Shards in the order of `epoch`."""
    return np.argsort(mix(_key(seed, 1, np.array([epoch])), np.arange(count)), kind="stable")


@lru_cache(maxsize=4)
def _starts(samples: int, streams: int, seed: int, epoch: int) -> Int64[np.ndarray, "v"]:
    """Where in the concatenation each stream of `epoch` begins."""
    order = np.argsort(mix(_key(seed, 2, np.array([epoch])), np.arange(streams)), kind="stable")
    lengths, starts = _lengths(samples, streams)[order], np.empty(streams, np.int64)
    starts[order] = np.cumsum(lengths) - lengths
    return starts


def _lengths(samples: int, streams: int) -> Int64[np.ndarray, "v"]:
    """Of the streams: they differ by one at most, and those of the lowest numbers are the longer ones."""
    return samples // streams + (np.arange(streams) < samples % streams)


def _key(seed: int, use: int, epochs: Int64[np.ndarray, "e"]) -> UInt64[np.ndarray, "e"]:
    """Random bits for one use of (seed, epoch). The seed is mixed first: seed ^ epoch is that of other pairs too."""
    return mix(mix(np.array([seed], np.uint64), np.array([use])), epochs)


def mix(state: UInt64[np.ndarray, "..."], value: np.ndarray) -> UInt64[np.ndarray, "..."]:
    """Random bits that depend on every bit of both: the finaliser of splitmix64 (Steele, Lea and Flood 2014).

    Written out because numpy promises the same numbers in every release for raw bit generators only, and those
    take as long to set up as a batch takes to order.
    """
    z = (state ^ np.asarray(value).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
