"""Clips become shards: tars written locally, uploaded once, verified; the manifest last, in one conditional PUT."""

import hashlib
import io
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_shards.clip import Clip
from data_shards.encoding import encode
from data_shards.manifest import MANIFEST, Index, Manifest, Shard, parse_manifest
from data_shards.mistake import UserError
from data_shards.names import SPLIT, allows
from data_shards.scratch import scratch_folder
from data_shards.shape import Shape, require_storable
from data_shards.storage.document import NUMBER
from data_shards.storage.place import open_store, require_folder
from data_shards.storage.store import StorageError, Store

if TYPE_CHECKING:
    from data_shards.sources import Source

SHARD_BYTES = 32 << 20
READ = 8 << 20  # bytes of one read when a shard is verified

Progress = Callable[[str, int, int], None]  # split, clips so far, their bytes


def build(
    source_name: str,
    source: "Source",
    url: str,
    counts: Mapping[str, int],
    seed: int,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Manifest:
    """Write the clips of `source` as a data set at `url`: complete in the end, or absent.

    An interrupted build leaves shards without a manifest. They are named by their content, so building again
    uploads only what is missing, and another build to the same place disturbs nothing.

    Args:
        source_name: its name in SOURCES.
        source: its parameters, a frozen dataclass. Its attribute or field `video_encoding` ("lossless" where there
            is none) says how frames are stored; after the last clip, what `statistics()` returns is kept, and what
            `parameters()` returns instead of all fields; `left_out(split)` says why clips are few.
        url: of the new set.
        counts: clips by split, at most; a split of 0 is left out.
        seed: of the source.
        shard_bytes: a shard is closed when it is larger.
        progress: is told of every clip.

    Raises:
        FileExistsError: there is a data set at `url`.
        UserError: a bad clip, name or number, no clip at all, no space for temporary files.
    """
    _require_numbers(shard_bytes, seed)
    require_storable(source)
    if wrong := [name for name in (source_name, *counts) if not allows(SPLIT, name)]:
        raise UserError(f"name {wrong[0]!r} must be 1 to 60 letters, digits, '-' and '_'")
    store = _vacant(url)
    video_encoding = str(getattr(source, "video_encoding", "lossless"))
    splits: dict[str, tuple[Shard, ...]] = {}
    shape, started = Shape(), time.monotonic()
    with scratch_folder("shards") as folder:
        for split, count in counts.items():
            clips = source.clips(split, count, seed) if count else iter(())
            with closing(_SplitWriter(store, split, folder, shard_bytes, video_encoding)) as writer:
                if shards := _written(clips, shape, writer, progress):
                    splits[split] = shards
    if not splits:
        raise UserError(f"source {source_name}: gave no clips; {_why_none(source, counts)}")
    seconds = {"seconds": round(time.monotonic() - started, 3)}
    manifest = Manifest(
        source=source_name,
        parameters=source.parameters() if hasattr(source, "parameters") else asdict(source),
        seed=seed,
        video_encoding=video_encoding,
        shape=shape.frames,
        fields=shape.fields,
        objects=shape.objects,
        splits=splits,
        statistics=seconds | (source.statistics() if hasattr(source, "statistics") else {}),
    )
    _publish(manifest, store)
    return manifest


def _require_numbers(shard_bytes: int, seed: int) -> None:
    for name, value, low in (("shard_bytes", shard_bytes, 1), ("seed", seed, 0)):
        if not low <= value < NUMBER:
            raise UserError(f"{name} {value} must be at least {low}, and below {NUMBER}")


def _why_none(source: "Source", counts: Mapping[str, int]) -> str:
    """What the source says of what it left out, by split."""
    if not hasattr(source, "left_out"):
        return "check its parameters and the counts"
    told = [f"{split}: {why}" for split, count in counts.items() if count and (why := source.left_out(split))]
    return "; ".join(told) or "check the counts"


def _vacant(url: str) -> Store:
    """The store at `url`. FileExistsError where there is a data set."""
    require_folder(url)
    store = open_store(url)
    if store.exists(MANIFEST):
        raise FileExistsError(
            f"{store.url}: a data set exists here already; choose another place or delete it"
        )
    return store


def _written(
    clips: Iterator[Clip], shape: Shape, writer: "_SplitWriter", progress: Progress | None
) -> tuple[Shard, ...]:
    """The shards of one split, whose clips have the `shape` of all before."""
    for done, clip in enumerate(clips, start=1):
        shape.check(clip)
        writer.add(clip)
        if progress is not None:
            progress(writer.split, done, writer.bytes)
    return tuple(writer.finish())


def _publish(manifest: Manifest, store: Store) -> None:
    content = manifest.to_json()
    try:
        parse_manifest(content)
    except ValueError as error:
        raise UserError(f"{store.url}: the set is not one that is read again: {error}") from error
    try:
        store.put(MANIFEST, content, if_absent=True)
    except FileExistsError as error:
        raise FileExistsError(
            f"{store.url}: another build finished here first; its data set stands"
        ) from error


class _SplitWriter:
    """Fills one local tar after the other and uploads each when it is full."""

    def __init__(self, store: Store, split: str, folder: Path, limit: int, video_encoding: str) -> None:
        self.bytes = 0
        self._store, self.split, self._folder, self._limit = store, split, folder, limit
        self._video_encoding = video_encoding
        self._shards: list[Shard] = []
        self._keys: set[str] = set()
        self._tar: _Tar | None = None

    def add(self, clip: Clip) -> None:
        if clip.key in self._keys:
            raise UserError(f"clip key {clip.key!r} came twice in split {self.split}")
        self._keys.add(clip.key)
        members = encode(clip, self._video_encoding)
        with _writing_below(self._folder):
            if self._tar is None:
                self._tar = _Tar(self._folder / f"{self.split}.tar")
            self.bytes += self._tar.add(clip.key, members)
        if self._tar.size >= self._limit:
            self._upload(self._tar)
            self._tar = None

    def finish(self) -> list[Shard]:
        if self._tar is not None:
            self._upload(self._tar)
            self._tar = None
        return self._shards

    def close(self) -> None:
        """Let go of a tar that was not finished."""
        if self._tar is not None:
            self._tar.abandon()

    def _upload(self, tar: "_Tar") -> None:
        with _writing_below(self._folder):
            index = tar.close().to_bytes()
        digest, size = hashed(_file_parts(tar.path))
        index_digest = hashlib.sha256(index).hexdigest()
        stem = f"{self.split}-{len(self._shards):06d}-{digest[:8]}"
        # The index has a hash of its own: another zlib packs the same table into other bytes.
        shard = Shard(
            f"{stem}.tar", tar.samples, size, digest, f"{stem}-{index_digest[:8]}.index.npz", index_digest
        )
        if not _is_there(self._store, shard):
            self._store.put(shard.name, tar.path)
            if not _is_there(self._store, shard):
                raise StorageError(self._store.address(shard.name), "differs from what was uploaded")
        self._store.put(shard.index, index)
        self._shards.append(shard)
        tar.path.unlink()


class _Tar:
    """A tar being written, and where its members lie. Its bytes depend on the samples alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 (closed by close)
        self._keys: list[str] = []
        self._names: tuple[str, ...] = ()
        self._rows: list[list[tuple[int, int, int]]] = []

    @property
    def size(self) -> int:
        return self._tar.offset

    @property
    def samples(self) -> int:
        return len(self._keys)

    def add(self, key: str, members: Mapping[str, bytes]) -> int:
        """Append a sample; returns the bytes it takes."""
        before = self.size
        self._names = self._names or tuple(members)
        row = []
        for name, data in members.items():
            info = tarfile.TarInfo(f"{key}.{name}")
            info.size = len(data)
            self._tar.addfile(info, io.BytesIO(data))
            padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            row.append((self.size - padded, len(data), zlib.crc32(data)))
        self._keys.append(key)
        self._rows.append(row)
        return self.size - before

    def abandon(self) -> None:
        """Close the file as it is."""
        if self._tar.fileobj is not None:
            # A full disk refuses again what was held back: the first refusal is the one to tell.
            with suppress(OSError):
                self._tar.fileobj.close()

    def close(self) -> Index:
        self._tar.close()
        table = np.array(self._rows, np.int64)
        return Index(
            keys=np.array(self._keys),
            members=self._names,
            offsets=table[:, :, 0],
            sizes=table[:, :, 1],
            crcs=table[:, :, 2].astype(np.uint32),
        )


@contextmanager
def _writing_below(folder: Path) -> Iterator[None]:
    """Names the place where a temporary file could not be written."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{folder.parent}: no shard can be prepared there ({error.strerror or error}); "
            "set TMPDIR to a folder with more space"
        ) from error


def hashed(parts: Iterator[bytes]) -> tuple[str, int]:
    """SHA-256 in hex and number of the bytes."""
    digest, size = hashlib.sha256(), 0
    for part in parts:
        digest.update(part)
        size += len(part)
    return digest.hexdigest(), size


def stored_parts(store: Store, name: str) -> Iterator[bytes]:
    """The bytes of an object, piece by piece, all of one version."""
    stat = store.stat(name)
    for start in range(0, stat.size, READ):
        yield store.read(name, start, min(start + READ, stat.size), version=stat.version)


def _file_parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(READ):
            yield part


def _is_there(store: Store, shard: Shard) -> bool:
    """Whether the store holds the shard, whole and undamaged."""
    if not store.exists(shard.name) or store.size(shard.name) != shard.bytes:
        return False
    return hashed(stored_parts(store, shard.name)) == (shard.sha256, shard.bytes)
