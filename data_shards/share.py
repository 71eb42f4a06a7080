"""One process's share of the batches: its slots of every global batch, read and assembled."""

import os
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from data_shards.assembly import Assembly, known_fields
from data_shards.clip import Batch
from data_shards.config import DataConfig, default_streams
from data_shards.manifest import Manifest, split_shards
from data_shards.order import Order
from data_shards.reader import Reader, samples_per_extent
from data_shards.storage.place import open_store


@dataclass
class Counters:
    """What a loader did so far, its processes together."""

    samples: int = 0
    bytes: int = 0
    retries: int = 0
    damaged_samples: int = 0

    def add(self, other: "Counters") -> None:
        """Count what another one did as well."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True)
class Share(IterableDataset[Any]):
    """The slots of one rank, and within a loader process those of them that are its own."""

    config: DataConfig
    manifest: Manifest
    split: str
    batch: int
    slots: range
    start: int
    seed: int
    fields: tuple[str, ...] | None
    # Keys of the store: the server of "forkserver" has the environment of the time when it started.
    environment: dict[str, str] = field(repr=False)

    def check(self) -> None:
        """Raises what is wrong with the arguments before any process is started."""
        self.order()
        known_fields(self.manifest, self.fields, self.config.url)

    def order(self) -> Order:
        """Of the split."""
        shards = split_shards(self.manifest, self.split, self.config.url)
        counts = tuple(shard.samples for shard in shards)
        streams = self.config.streams or default_streams(self.batch)
        return Order(counts, self.seed, streams, self.config.block)

    def batches(self, slots: range) -> Generator[tuple[Batch, Counters], None, None]:
        """The endless batches of `slots`, and what was done for each."""
        order = self.order()
        kept = self._kept(order, slots)
        assembly = open_assembly(self.config, self.manifest, self.split, self.fields, kept)
        try:
            ahead = [
                order.batch(step, self.batch, slots)
                for step in range(self.start, self.start + self.config.ahead)
            ]
            for shards, samples in ahead:
                assembly.reader.expect(shards.tolist(), samples.tolist())
            told = Counters()
            for step in count(self.start + self.config.ahead):
                shards, samples = ahead.pop(0)
                batch = assembly.batch(shards.tolist(), samples.tolist())
                ahead.append(order.batch(step, self.batch, slots))
                assembly.reader.expect(*(numbers.tolist() for numbers in ahead[-1]))
                now = Counters(
                    told.samples + len(batch.keys),
                    assembly.reader.bytes,
                    assembly.reader.store.retries,
                    assembly.damaged_samples,
                )
                news = Counters(**{name: value - getattr(told, name) for name, value in asdict(now).items()})
                told = now
                yield batch, news
        finally:
            assembly.reader.close()

    def _kept(self, order: Order, slots: range) -> int:
        """Extents that hold the blocks in use of the streams that `slots` read."""
        shards = self.manifest.splits[self.split]
        per = min(samples_per_extent(shard, self.config.extent_bytes) for shard in shards)
        v = order.parallel
        mine = v // self.batch * len(slots) if v % self.batch == 0 else v
        return mine * (-(-order.longest // per) + 1)

    def __iter__(self) -> Iterator[Any]:
        """In a loader process: (keys, tensors, counters) of each step, or the exception that ends it."""
        info = get_worker_info()
        os.environ.update(self.environment)
        number, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        cuts = [len(self.slots) * n // workers for n in range(workers + 1)]
        try:
            for batch, counters in self.batches(self.slots[cuts[number] : cuts[number + 1]]):
                arrays = {k: torch.from_numpy(v) for k, v in vars(batch).items() if isinstance(v, np.ndarray)}
                yield batch.keys, arrays, counters
        except Exception as error:
            error.__traceback__ = error.__cause__ = None
            yield error


def open_assembly(
    config: DataConfig, manifest: Manifest, split: str, fields: tuple[str, ...] | None, kept: int = 0
) -> Assembly:
    """What makes batches of `split`; close its reader in the end. `kept`: see Reader; none for one pass in sequence."""
    names = known_fields(manifest, fields, config.url)
    reader = Reader(
        open_store(config.url, config.deadline),
        split_shards(manifest, split, config.url),
        lambda member: member.partition(".")[0] in names,
        manifest.sizes,
        extent_bytes=config.extent_bytes,
        kept=kept,
        threads=config.threads,
    )
    return Assembly(reader, manifest, names, config.damage)
