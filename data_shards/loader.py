"""Batches of a data set: an endless shuffled sequence for training (Loader), one pass in fixed order (scan).

Loader processes share out the *slots* of each global batch, as ranks do, so that the sequence depends on neither.
"""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from data_shards.assembly import Assembly, known_fields
from data_shards.clip import Batch
from data_shards.manifest import Manifest, read_manifest, split_shards
from data_shards.order import Order
from data_shards.reader import Reader
from data_shards.storage import check_url, open_store


@dataclass(frozen=True)
class DataConfig:
    """Where clips come from and how they are read. Only `streams` and `block` change the order.

    Args:
        url: of the data set.
        workers: loader processes of each rank; 0 reads in the training process.
        streams: places of the set that are read at the same time. Reads are cheapest where it is a multiple of the
            batch size or a divisor of it.
        block: neighbouring samples that are shuffled among themselves; about streams * block samples mix.
        ahead: steps whose bytes are fetched ahead.
        threads: fetches at the same time, of each process.
        extent_bytes: of one fetch, about.
        deadline: seconds for which a store that does not answer is asked again.
        damage: what to do about a damaged sample: "error", or "replace" by the next whole one of its shard (counted).
        start_method: of loader processes. "fork" starts faster, but is unsafe beside the threads of Ray and CUDA.
    """

    url: str
    workers: int = 0
    streams: int = 64
    block: int = 16
    ahead: int = 8
    threads: int = 4
    extent_bytes: int = 1 << 20
    deadline: float = 600.0
    damage: str = "error"
    start_method: str = "forkserver"

    def __post_init__(self) -> None:
        check_url(self.url)
        if self.workers < 0:
            raise ValueError(f"workers {self.workers} must be at least 0")
        for name in ("streams", "block", "ahead", "threads", "extent_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        if self.deadline < 0:
            raise ValueError(f"deadline {self.deadline} must be at least 0 seconds")
        if self.damage not in ("error", "replace"):
            raise ValueError(f"damage {self.damage!r} must be error or replace")
        if self.start_method not in ("fork", "forkserver", "spawn"):
            raise ValueError(f"start_method {self.start_method!r} must be fork, forkserver or spawn")


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


class Loader:
    """Endless batches of one rank. A context manager; iterate it once.

    Args:
        config: the data set and how it is read.
        split: to read.
        batch: size of the global batch.
        slots: the rank's places in it.
        start_step: the first step; nothing before it is read.
        seed: of the order.
        fields: of the clips to decode (see `Batch`); None = all that the set has.

    Raises:
        ValueError: bad arguments.
        StorageError: no data set, or it cannot be read; raised by the constructor or while iterating.
        RuntimeError: a loader process died; raised while iterating.
    """

    def __init__(
        self,
        config: DataConfig,
        split: str,
        batch: int,
        slots: range,
        start_step: int = 0,
        seed: int = 0,
        fields: tuple[str, ...] | None = ("frames",),
    ) -> None:
        if batch < 1 or not slots or not set(slots) <= set(range(batch)):
            raise ValueError(f"slots {slots} must be places in a batch of {batch}")
        if start_step < 0:
            raise ValueError(f"start_step {start_step} must be at least 0")
        self.manifest = _manifest(config)
        self.counters = Counters()
        environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        self._part = _Part(config, self.manifest, split, batch, slots, start_step, seed, fields, environment)
        self._part.check()
        self._batches: Generator[Batch, None, None] | None = None

    def __iter__(self) -> Iterator[Batch]:
        if self._batches is None:
            workers = min(self._part.config.workers, len(self._part.slots))
            self._batches = self._in_processes(workers) if workers else self._here()
        return self._batches

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and the fetches."""
        if self._batches is not None:
            self._batches.close()

    def _here(self) -> Generator[Batch, None, None]:
        with closing(self._part.batches(self._part.slots)) as batches:
            for batch, counters in batches:
                self.counters.add(counters)
                yield batch

    def _in_processes(self, workers: int) -> Generator[Batch, None, None]:
        if self._part.config.start_method == "forkserver":
            # The server imports once what every process needs.
            torch.multiprocessing.get_context("forkserver").set_forkserver_preload([__name__])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # the user chose the number
            answers: Any = iter(
                DataLoader(
                    self._part,
                    batch_size=None,
                    num_workers=workers,
                    collate_fn=_identity,
                    worker_init_fn=_start_process,
                    multiprocessing_context=self._part.config.start_method,
                )
            )
        try:
            while True:
                # The DataLoader asks its processes in turn: `workers` answers make one step, in the order of the slots.
                try:
                    parts = [next(answers) for _ in range(workers)]
                except (RuntimeError, OSError, EOFError) as error:  # the last two: it died while it answered
                    raise RuntimeError(
                        f"a loader process of {self._part.config.url} died: {error}"
                    ) from error
                for part in parts:
                    if isinstance(part, Exception):
                        raise part
                for _, _, counters in parts:
                    self.counters.add(counters)
                yield _joined(parts)
        finally:
            # Left to the garbage collector, which finds the queues first, this waits 5 s for each process.
            answers._shutdown_workers()


@dataclass(frozen=True)
class _Part(IterableDataset[Any]):
    """What one process reads: its share of the slots of one rank."""

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
        shards = split_shards(self.manifest, self.split, self.config.url)
        counts = tuple(shard.samples for shard in shards)
        return Order(counts, self.seed, self.config.streams, self.config.block)

    def batches(self, slots: range) -> Generator[tuple[Batch, Counters], None, None]:
        """The endless batches of `slots`, and what was done for each."""
        order = self.order()
        assembly = open_assembly(self.config, self.manifest, self.split, self.fields)
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


def scan(
    config: DataConfig,
    split: str,
    batch: int,
    rank: int = 0,
    world: int = 1,
    fields: tuple[str, ...] | None = None,
) -> Iterator[Batch]:
    """One pass over `split` in the order of the shards: every sample once, over all ranks together.

    Each rank reads its own stretch of N // world or N // world + 1 samples; its last batch may be short.

    Args:
        config: the data set and how it is read; its workers are not used.
        split: to read.
        batch: samples of one batch of this rank.
        rank: which stretch, of `world`.
        world: number of stretches.
        fields: as for Loader, all by default.
    """
    if batch < 1 or not 0 <= rank < world:
        raise ValueError(f"batch {batch} must be at least 1, rank {rank} from 0 to {world - 1}")
    manifest = _manifest(config)
    shards = split_shards(manifest, split, config.url)
    assembly = open_assembly(config, manifest, split, fields)
    ends = np.cumsum([shard.samples for shard in shards])
    first, last = (int(ends[-1]) * r // world for r in (rank, rank + 1))
    places = np.arange(first, last)
    numbers = np.searchsorted(ends, places, side="right")
    samples = places - ends[numbers] + np.array([shard.samples for shard in shards])[numbers]
    try:
        for start in range(0, len(places), batch):
            soon = slice(start, start + batch * config.ahead)
            assembly.reader.expect(numbers[soon].tolist(), samples[soon].tolist())
            now = slice(start, start + batch)
            yield assembly.batch(numbers[now].tolist(), samples[now].tolist())
    finally:
        assembly.reader.close()


def open_assembly(
    config: DataConfig, manifest: Manifest, split: str, fields: tuple[str, ...] | None
) -> Assembly:
    """What makes batches of `split`; close its reader in the end."""
    names = known_fields(manifest, fields, config.url)
    reader = Reader(
        open_store(config.url, config.deadline),
        split_shards(manifest, split, config.url),
        lambda member: member.partition(".")[0] in names,
        extent_bytes=config.extent_bytes,
        kept=2 * config.streams + config.threads,
        threads=config.threads,
    )
    return Assembly(reader, manifest, names, config.damage)


def _manifest(config: DataConfig) -> Manifest:
    return read_manifest(open_store(config.url, config.deadline))


def _joined(parts: list[Any]) -> Batch:
    keys = [key for part in parts for key in part[0]]
    if len(parts) == 1:
        return Batch(keys, **{name: tensor.numpy() for name, tensor in parts[0][1].items()})
    return Batch(
        keys, **{name: np.concatenate([part[1][name].numpy() for part in parts]) for name in parts[0][1]}
    )


def _identity(answer: Any) -> Any:
    return answer


def _start_process(_: int) -> None:
    """Ctrl-C reaches every process of a terminal, but the training process decides when its loaders end; or its death.

    torch looks whether the parent is another one by now. The parent of these may be the server of "forkserver", which
    lives as long as they do.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_training, name="orphan", daemon=True).start()


def _end_with_training() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
