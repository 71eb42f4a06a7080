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
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from data_shards.clip import Batch
from data_shards.config import DataConfig as DataConfig
from data_shards.manifest import Manifest, read_manifest, split_shards
from data_shards.order import shards_and_samples
from data_shards.share import Counters as Counters
from data_shards.share import Share, open_assembly
from data_shards.sockets import shorten_sockets
from data_shards.storage.place import open_store


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
        if config.workers:
            shorten_sockets()
        self.manifest = _manifest(config)
        self.counters = Counters()
        environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        self._share = Share(config, self.manifest, split, batch, slots, start_step, seed, fields, environment)
        self._share.check()
        self._batches: Generator[Batch, None, None] | None = None

    def __iter__(self) -> Iterator[Batch]:
        if self._batches is None:
            workers = min(self._share.config.workers, len(self._share.slots))
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
        with closing(self._share.batches(self._share.slots)) as batches:
            for batch, counters in batches:
                self.counters.add(counters)
                yield batch

    def _in_processes(self, workers: int) -> Generator[Batch, None, None]:
        if self._share.config.start_method == "forkserver":
            # The server imports once what every process needs.
            needed = [__name__, *(["data_shards.h264"] if self.manifest.video_encoding == "h264" else [])]
            torch.multiprocessing.get_context("forkserver").set_forkserver_preload(needed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # the user chose the number
            answers: Any = iter(
                DataLoader(
                    self._share,
                    batch_size=None,
                    num_workers=workers,
                    collate_fn=_identity,
                    worker_init_fn=_start_process,
                    multiprocessing_context=self._share.config.start_method,
                )
            )
        try:
            while True:
                # The DataLoader asks its processes in turn: `workers` answers make one step, in the order of the slots.
                try:
                    parts = [next(answers) for _ in range(workers)]
                except (RuntimeError, OSError, EOFError) as error:  # the last two: it died while it answered
                    raise RuntimeError(
                        f"a loader process of {self._share.config.url} died: {error}"
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


def scan(
    config: DataConfig,
    split: str,
    batch: int,
    rank: int = 0,
    world: int = 1,
    fields: tuple[str, ...] | None = None,
    limit: int | None = None,
) -> Generator[Batch, None, None]:
    """One pass over `split` in the order of the shards: every sample once, over all ranks together.

    Each rank reads its own stretch of N // world or N // world + 1 samples; its last batch may be short.

    Args:
        config: the data set and how it is read; its workers are not used.
        split: to read.
        batch: samples of one batch of this rank.
        rank: which stretch, of `world`.
        world: number of stretches.
        fields: as for Loader, all by default.
        limit: only the first so many samples of the split, over all ranks together; None = all.

    Raises:
        ValueError: bad arguments; this and the other are raised while iterating.
        StorageError: no data set, or it cannot be read.
    """
    if batch < 1 or not 0 <= rank < world:
        raise ValueError(f"batch {batch} must be at least 1, rank {rank} from 0 to {world - 1}")
    if limit is not None and limit < 0:
        raise ValueError(f"limit {limit} must be at least 0")
    manifest = _manifest(config)
    shards = split_shards(manifest, split, config.url)
    assembly = open_assembly(config, manifest, split, fields)
    counts = np.array([shard.samples for shard in shards])
    places = stretch(manifest, split, rank, world, limit)
    try:
        reach = batch * config.ahead
        for start in range(-reach, len(places), batch):
            soon = np.array(places[start + reach : start + reach + batch], np.int64)
            assembly.reader.expect(*(numbers.tolist() for numbers in shards_and_samples(counts, soon)))
            if start < 0:
                continue
            now = np.array(places[start : start + batch], np.int64)
            yield assembly.batch(*(numbers.tolist() for numbers in shards_and_samples(counts, now)))
    finally:
        assembly.reader.close()


def stretch(manifest: Manifest, split: str, rank: int, world: int, limit: int | None = None) -> range:
    """Which samples of `split`, by their places in it, one rank of `world` scans."""
    # Cut before ranks share it: which samples are read must not depend on their number.
    samples = manifest.samples(split)
    count = samples if limit is None else min(limit, samples)
    return range(count * rank // world, count * (rank + 1) // world)


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
