"""Samples out of shards by number: byte ranges fetched ahead of need, pinned to one version, checked.

A shard is read in extents of about a MiB, the same ones for whoever reads: consecutive samples, a fixed number per
shard. An extent is kept as long as one of its samples is expected. After that, until each of them was taken once or
`kept` others have been of use since.
"""

import hashlib
import queue
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from data_shards.encoding import Sizes, packed_bytes
from data_shards.manifest import Index, Shard, index_bytes
from data_shards.storage.store import Changed, NotFound, StorageError, Store

T = TypeVar("T")
_INDEXES = 256  # of shards, kept at most: some kB each


class ShardError(StorageError):
    """A shard is missing, damaged or replaced."""


class DamagedSample(ShardError):
    """One sample of a shard is damaged; others may be whole."""


class Sample(NamedTuple):
    """The key and the wanted members of one sample."""

    key: str
    members: dict[str, memoryview]


@dataclass(frozen=True)
class _Open:
    """A shard whose size and index were checked."""

    shard: Shard
    index: Index
    version: str
    columns: dict[str, int]  # wanted member -> its place in the index


@dataclass
class _Extent:
    """Samples [first, last) of a shard, fetched or on their way: `left` not taken yet, `expected` announced."""

    fetched: "Future[tuple[_Open, int, memoryview]]"
    left: int
    expected: int = 0


@dataclass
class Reader:
    """Reads samples of one list of shards. Use it from one thread; it fetches in threads of its own.

    Args:
        store: where the shards are.
        shards: addressed by their place here.
        wanted: whether a member of this name is read.
        sizes: of the axes of a clip, which bound what is read of one.
        extent_bytes: of one fetch, about; a longer sample is fetched alone.
        kept: extents kept at most of which nothing is expected. Too few are fetched again and again: what holds the
            blocks in use of all streams that are read.
        threads: fetches at the same time.
    """

    store: Store
    shards: Sequence[Shard]
    wanted: Callable[[str], bool]
    sizes: Sizes
    extent_bytes: int = 1 << 20
    kept: int = 128
    threads: int = 4
    bytes: int = 0  # read so far
    _awaited: dict[tuple[int, int], _Extent] = field(default_factory=dict)
    _kept: "OrderedDict[tuple[int, int], _Extent]" = field(default_factory=OrderedDict)
    _open: "OrderedDict[int, Future[_Open]]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _jobs: "queue.SimpleQueue[Callable[[], None] | None]" = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        # From the manifest, so that naming an extent needs no index.
        self._per_extent = [samples_per_extent(shard, self.extent_bytes) for shard in self.shards]
        for _ in range(self.threads):
            # Daemons: a fetch that waits for a dead store must not keep the process from ending.
            threading.Thread(target=self._work, name="reader", daemon=True).start()

    def close(self) -> None:
        """Stop fetching; what waits for the store gives up."""
        self.store.close()
        for _ in range(self.threads):
            self._jobs.put(None)

    def expect(self, shards: Iterable[int], samples: Iterable[int]) -> None:
        """Start to fetch what holds these samples, in this order; each is to be taken once for each time announced."""
        for shard, sample in zip(shards, samples, strict=True):
            self._extent(shard, sample).expected += 1

    def sample(self, shard: int, sample: int) -> Sample:
        """The wanted members of one sample, each as long and with the CRC-32 that the index says.

        Raises:
            DamagedSample: the bytes are not those that were written.
            ShardError: the shard is missing, of another size, or was replaced.
            StorageError: the store refuses, or did not answer until its deadline.
        """
        extent = self._extent(shard, sample)
        opened, base, data = extent.fetched.result()
        self._taken(shard, sample, extent)
        index = opened.index
        key = str(index.keys[sample])
        offsets, sizes, crcs = (
            index.offsets[sample].tolist(),
            index.sizes[sample].tolist(),
            index.crcs[sample].tolist(),
        )
        members = {}
        for name, column in opened.columns.items():
            start = offsets[column] - base
            part = data[start : start + sizes[column]]
            if zlib.crc32(part) != crcs[column]:
                reason = (
                    f"sample {key}: {name} is damaged (its checksum differs); upload or build the shard again"
                )
                raise DamagedSample(self.store.address(opened.shard.name), reason)
            members[name] = part
        return Sample(key, members)

    def _extent(self, shard: int, sample: int) -> _Extent:
        """The awaited extent that holds a sample."""
        per = self._per_extent[shard]
        place = shard, sample // per
        found = self._awaited.get(place) or self._kept.pop(place, None)
        if found is None:
            first, last = place[1] * per, min((place[1] + 1) * per, self.shards[shard].samples)
            found = _Extent(Future(), last - first)
            self._jobs.put(_job(found.fetched, lambda: self._fetch(shard, first, last)))
        self._awaited[place] = found
        return found

    def _taken(self, shard: int, sample: int, extent: _Extent) -> None:
        """Count a sample as taken, and let go of what is not needed any more."""
        extent.left -= 1
        extent.expected -= 1
        if extent.expected > 0:
            return
        extent.expected = 0  # a sample that takes the place of a damaged one was not announced
        place = shard, sample // self._per_extent[shard]
        del self._awaited[place]
        if extent.left > 0:
            self._kept[place] = extent
            while len(self._kept) > self.kept:
                self._kept.popitem(last=False)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _fetch(self, shard: int, first: int, last: int) -> tuple[_Open, int, memoryview]:
        opened = self._opened(shard)
        columns = sorted(opened.columns.values())
        start = int(opened.index.offsets[first, columns[0]])
        end = int(opened.index.offsets[last - 1, columns[-1]] + opened.index.sizes[last - 1, columns[-1]])
        name = opened.shard.name
        try:
            data = self.store.read(name, start, end, version=opened.version)
        except Changed as error:
            raise ShardError(error.url, "was replaced while it was being read; start again") from error
        except StorageError as error:
            raise ShardError(error.url, error.reason) from error
        self._count(len(data))
        return opened, start, memoryview(data)

    def _opened(self, number: int) -> _Open:
        """The shard's index, read once by whichever thread comes first."""
        with self._lock:
            found = self._open.get(number)
            mine = found is None
            if found is None:
                found = self._open[number] = Future()
                while len(self._open) > max(_INDEXES, self.kept):
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(number)
        if mine:
            _job(found, lambda: self._open_shard(self.shards[number]))()
        return found.result()

    def _open_shard(self, shard: Shard) -> _Open:
        address = self.store.address(shard.name)
        try:
            stat = self.store.stat(shard.name)
            data = self.store.read(shard.index, most=index_bytes(shard.samples))
        except NotFound as error:
            raise ShardError(
                error.url, "is missing though the manifest lists it; upload or build it again"
            ) from error
        if stat.size != shard.bytes:
            how = "truncated" if stat.size < shard.bytes else "replaced"
            raise ShardError(address, f"has {stat.size} bytes, the manifest says {shard.bytes}: {how}")
        if hashlib.sha256(data).hexdigest() != shard.index_sha256:
            raise ShardError(self.store.address(shard.index), "is damaged: its hash is not the manifest's")
        self._count(len(data))
        try:
            index = Index.from_bytes(data, shard)
        except ValueError as error:
            raise ShardError(self.store.address(shard.index), f"is damaged: {error}") from error
        columns = {name: index.column(name) for name in index.members if self.wanted(name)}
        if len({name.partition(".")[0] for name in columns}) != len(columns) or not columns:
            raise ShardError(
                self.store.address(shard.index), f"has the members {', '.join(columns) or 'of none'}"
            )
        for name, column in columns.items():
            if (size := int(index.sizes[:, column].max())) > (most := packed_bytes(name, self.sizes)):
                raise ShardError(address, f"{name} of a sample has {size} bytes, at most {most} are read")
        return _Open(shard, index, stat.version, columns)

    def _count(self, size: int) -> None:
        with self._lock:
            self.bytes += size


def _job(future: "Future[T]", call: Callable[[], T]) -> Callable[[], None]:
    """Puts into `future` what `call` returns or raises."""

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    return run


def samples_per_extent(shard: Shard, extent_bytes: int) -> int:
    """How many consecutive samples of `shard` make an extent of about `extent_bytes`."""
    return max(1, round(extent_bytes * shard.samples / max(1, shard.bytes)))
