"""What a data set is: manifest.json, written last, and one index file per shard. Without a manifest there is no set."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped, UInt32

from data_shards.mistake import UserError
from data_shards.npy import read_npy
from data_shards.storage.place import open_store
from data_shards.storage.store import NotFound, StorageError, Store

MANIFEST = "manifest.json"
SCHEMA = 1


@dataclass(frozen=True)
class Shard:
    """One tar, named by its content, and its index."""

    name: str
    samples: int
    bytes: int
    sha256: str
    index: str
    index_sha256: str


@dataclass(frozen=True)
class Manifest:
    """A data set. `parameters` are the source's; `fields` are what each clip has besides facts."""

    source: str
    parameters: dict[str, Any]
    seed: int
    video_encoding: str
    shape: tuple[int, int, int, int]  # t h w c of every clip
    fields: tuple[str, ...]
    objects: int  # the largest number of objects in a clip
    splits: dict[str, tuple[Shard, ...]]
    statistics: dict[str, Any]

    @property
    def sizes(self) -> dict[str, int]:
        """Of each axis of a clip by its name (see clip.FIELDS), with as many objects as any clip has."""
        return dict(zip("thwc", self.shape, strict=True)) | {"n": self.objects}

    def samples(self, split: str) -> int:
        """Clips in `split`."""
        return sum(shard.samples for shard in self.splits[split])

    def size(self, split: str) -> int:
        """Bytes of the shards of `split`."""
        return sum(shard.bytes for shard in self.splits[split])

    def digest(self, split: str) -> str:
        """Twelve hexadecimal digits over the content of `split`: equal where its shards are, wherever they lie."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.splits[split]).encode()).hexdigest()[:12]

    def to_json(self) -> bytes:
        """The file's content."""
        return json.dumps({"schema": SCHEMA} | asdict(self), indent=1).encode()


def read_manifest(url: str | Store) -> Manifest:
    """The manifest of the data set at `url`.

    Raises:
        StorageError: there is no complete data set there, or it is of another version; names the URL.
    """
    store = url if isinstance(url, Store) else open_store(url)
    try:
        data = store.read(MANIFEST)
    except NotFound as error:
        shards = any(name.endswith(".tar") for name in store.list())
        left = (
            "an interrupted build left shards but no manifest: build again" if shards else "no data set here"
        )
        raise StorageError(store.url, f"{left} ({MANIFEST} is missing)") from error
    try:
        tree = json.loads(data)
        if tree.pop("schema") != SCHEMA:
            raise ValueError("schema")
        splits = {
            split: tuple(Shard(**shard) for shard in shards) for split, shards in tree["splits"].items()
        }
        fixed = {"splits": splits, "shape": tuple(tree["shape"]), "fields": tuple(tree["fields"])}
        return Manifest(**tree | fixed)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"is damaged or not of schema {SCHEMA}; build the set again with this version"
        raise StorageError(store.address(MANIFEST), reason) from error


def split_shards(manifest: Manifest, split: str, url: str) -> tuple[Shard, ...]:
    """The shards of `split`; UserError names those there are."""
    if split not in manifest.splits:
        raise UserError(f"split {split!r} must be one of {', '.join(manifest.splits)} of {url}")
    return manifest.splits[split]


@dataclass(frozen=True)
class Index:
    """Where the members of a shard's samples lie: `n` samples, `m` members each, the same names in all.

    Offsets are of a member's first byte, sizes in bytes, `crcs` CRC-32 of its bytes.
    """

    keys: Shaped[np.ndarray, "n"]
    members: tuple[str, ...]
    offsets: Int64[np.ndarray, "n m"]
    sizes: Int64[np.ndarray, "n m"]
    crcs: UInt32[np.ndarray, "n m"]

    def __len__(self) -> int:
        return len(self.keys)

    def column(self, member: str) -> int:
        """The place of `member` along the axis m."""
        return self.members.index(member)

    def to_bytes(self) -> bytes:
        """The file's content: npz, compressed."""
        buffer = io.BytesIO()
        arrays: Mapping[str, Any] = {
            "keys": self.keys,
            "members": np.array(self.members),
            "offsets": self.offsets,
            "sizes": self.sizes,
            "crcs": self.crcs,
        }
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Index":
        """The inverse; ValueError for anything else."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as file:
                columns = ("keys", "members", "offsets", "sizes", "crcs")
                keys, members, *numbers = (read_npy(file.read(f"{name}.npy")) for name in columns)
                return cls(keys, tuple(str(name) for name in members), *numbers)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"not an index: {error}") from error
