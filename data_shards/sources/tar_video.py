"""Videos in tars as WebDataset lays them out: key.mp4, with key.txt and key.json beside; read where they lie.

Whoever made a tar is not trusted. Nothing of it is unpacked, run or unpickled, names become no paths, and no more is
held than one member. The grouping by keys is webdataset's own; its opening of addresses, which knows shell commands,
and its reading of tars, which unpacks holes and compressed data of any size, are not used.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from av.container import InputContainer

from data_shards.sources.container import EXTENSIONS, open_video
from data_shards.sources.inventory import DOTTED, DUPLICATES, HIDDEN, OTHER, UNSAFE, Inventory, visible
from data_shards.storage.place import open_store
from data_shards.storage.store import Store

TAR = ".tar"
MEMBER = 2 << 30  # bytes of a video, the most
AHEAD = 64 << 10  # bytes that are read at a time while headers are looked at
HEADER = 1 << 20  # bytes of one header, the most
TEXTS = ("txt", "json")
TEXT = 500  # bytes of a caption or of a json that a manifest keeps
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
# What tarfile raises at headers that are wrong, its own errors and those that it does not catch.
BROKEN = (tarfile.TarError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class TarVideo:
    """The video `name` below `root`, which is a member of a tar: `size` bytes from byte `start` of its `version`."""

    root: str
    name: str
    tar: str  # below the store `place`
    place: str
    start: int
    size: int
    version: str

    @property
    def unit(self) -> str:
        """The tar, as an address."""
        return f"{self.place.rstrip('/')}/{self.tar}"

    def open(self) -> InputContainer:
        """A container with at least one video stream, in memory.

        Raises:
            UserError: not a video.
            StorageError: the store refuses, or has another tar by now.
        """
        data = open_store(self.place).read(self.tar, self.start, self.start + self.size, self.version)
        return open_video(io.BytesIO(data), str(self))

    def __str__(self) -> str:
        return f"{self.root.rstrip('/')}/{self.name}"


def tar_videos(place: str, tar: str, account: Inventory) -> list[TarVideo]:
    """The videos in a tar, in its order; the `account` gets what is left out or bad, and what is said of the first.

    Args:
        place: folder or bucket.
        tar: its name below.
        account: of this search.

    Raises:
        StorageError: the store refuses.
    """
    store = open_store(place)
    file = _Stored(store, tar)
    address = store.address(tar)
    videos: dict[str, TarVideo] = {}  # by key
    for sample in _samples(file, address, account):
        members = {suffix: where for suffix, where in sample.items() if not suffix.startswith("__")}
        for suffix, (name, start, size) in members.items():
            ending = suffix.rpartition(".")[2]
            key = name[: -len(ending) - 1]
            if f".{ending}" not in EXTENSIONS:
                continue
            if key in videos:
                account.leave_out(DUPLICATES, f"{address}/{name}")
                continue
            if "." in suffix:
                account.leave_out(DOTTED, f"{address}/{name}")
            videos[key] = TarVideo(place, f"{tar}/{name}", tar, place, start, size, file.version)
            if account.wants_more:
                beside = {kind: members.get(suffix.removesuffix(ending) + kind) for kind in TEXTS}
                said = {kind: file.text(*where[1:]) for kind, where in beside.items() if where}
                account.describe({"file": f"{tar}/{name}", "key": key} | said)
    return list(videos.values())


def _samples(file: "_Stored", address: str, account: Inventory) -> Iterator[dict[str, Any]]:
    """Members of one key after the other, as webdataset groups them: by suffix, (name, first byte, size)."""
    from webdataset.tariterators import group_by_keys  # takes seconds to import, with torch

    def doubled(error: Exception) -> bool:
        name = str(error.args[0]).partition(": duplicate file name")[0]
        account.leave_out(DUPLICATES, f"{address}/{name}")
        return True

    members = _members(file, address, account)
    samples: Iterator[dict[str, Any]] = group_by_keys(members, handler=doubled)
    return samples


def _members(file: "_Stored", address: str, account: Inventory) -> Iterator[dict[str, Any]]:
    """The members that are of use, for webdataset: `data` is (name, first byte, size)."""
    if kind := next(
        (kind for mark, kind in PACKED.items() if file.read(8).startswith(mark) or file.seek(0)), None
    ):
        account.refuse(address, f"{address}: is packed by {kind}; tars of WebDataset are plain, unpack it")
        return
    file.seek(0)
    end = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (info := tar.next()) is not None:
                vars(tar)["members"].clear()  # it would keep all of them
                if info.size < 0 or info.offset_data <= end:
                    raise tarfile.ReadError("a member of negative size")
                if info.isfile() and not info.issparse() and info.offset_data + info.size > file.size:
                    raise tarfile.ReadError(f"ends within its member {info.name!r}")
                end = info.offset_data
                if info.isfile():
                    yield from _used(info, address, account)
            end = tar.offset
        if file.part(end, 512) != bytes(512):
            raise tarfile.ReadError("no mark of its end")
    except BROKEN as error:
        account.refuse(
            address, f"{address}: is cut short or damaged after byte {end} of {file.size} ({error})"
        )


def _used(info: tarfile.TarInfo, address: str, account: Inventory) -> Iterator[dict[str, Any]]:
    """The member, if it is of use."""
    name = re.sub(r"^(\./+)+", "", info.name)
    ending = name.rpartition(".")[2].lower()
    where = f"{address}/{name}"
    unsafe = name.startswith("/") or ".." in re.split(r"[/\\]", name) or DRIVE.match(name)
    if unsafe or not name.isprintable() or len(name) > 255:
        account.leave_out(UNSAFE, f"{address}/{name[:255]}")
    elif not visible(name):
        account.leave_out(HIDDEN, where)
    elif f".{ending}" in EXTENSIONS and (info.issparse() or info.size > MEMBER):
        account.refuse(where, f"{where}: has holes or more than {MEMBER >> 30} GiB")
    elif f".{ending}" in EXTENSIONS or (ending in TEXTS and not info.issparse()):
        yield {"fname": name, "data": (name, info.offset_data, info.size), "__url__": address}
    else:
        account.leave_out(OTHER, where)


class _Stored(io.RawIOBase):
    """A stored object as a file of which a little is read here and there; what is read ahead is kept."""

    def __init__(self, store: Store, name: str) -> None:
        found = store.stat(name)
        self.size, self.version = found.size, found.version
        self._store, self._name = store, name
        self._place, self._first, self._held = 0, 0, b""

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        """At most a header's bytes, of which tars can claim any number."""
        if not 0 <= size <= HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        data = self.part(self._place, size)
        self._place += len(data)
        return data

    def part(self, start: int, size: int) -> bytes:
        """The bytes from `start` on, fewer at the end."""
        end = min(start + size, self.size)
        if not self._first <= start <= end <= self._first + len(self._held):
            if start >= end:
                return b""
            ahead = min(max(end, start + AHEAD), self.size)
            self._held = self._store.read(self._name, start, ahead, self.version)
            self._first = start
        return self._held[start - self._first : end - self._first]

    def text(self, start: int, size: int) -> str:
        """The beginning of a text."""
        return self.part(start, min(size, TEXT)).decode("utf-8", "replace")
