"""What a data set is: manifest.json, written last, and one index file per shard. Without a manifest there is no set."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from jaxtyping import Int64, Shaped, UInt32
from pydantic import ConfigDict, Field

from data_shards.clip import FIELDS, Array
from data_shards.mistake import UserError
from data_shards.names import INDEX, KEY, MEMBER, SHA256, SHARD, SPLIT, allows
from data_shards.npy import read_npz
from data_shards.storage.document import fitting, parse_document, shortened
from data_shards.storage.place import open_store
from data_shards.storage.store import NotFound, StorageError, Store

MANIFEST = "manifest.json"
SCHEMA = 1

MANIFEST_BYTES = 16 << 20  # at most: some 40,000 shards
CLIP_BYTES = 1 << 30  # at most, of an array of a clip
LONGEST = 1 << 16  # frames of a clip, or pixels of a side, at most
SAMPLE_BYTES = 1024  # at least, in a tar: a header and a block
TAR_END = 2 * 10240  # bytes after the last member of a tar, at most
MEMBERS = 16  # of a sample, at most

Digest = Annotated[str, Field(pattern=SHA256)]
Side = Annotated[int, Field(strict=True, ge=1, le=LONGEST)]


@dataclass(frozen=True)
class Shard:
    """One tar, named by its content, and its index."""

    name: Annotated[str, Field(pattern=SHARD)]
    samples: Annotated[int, Field(strict=True, ge=1)]
    bytes: Annotated[int, Field(strict=True, ge=1, le=1 << 50)]
    sha256: Digest
    index: Annotated[str, Field(pattern=INDEX)]
    index_sha256: Digest

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Manifest:
    """A data set. `parameters` are the source's; `fields` are what each clip has besides facts."""

    source: Annotated[str, Field(pattern=SPLIT)]
    parameters: dict[str, Any]
    seed: Annotated[int, Field(strict=True, ge=0)]
    video_encoding: Annotated[str, Field(pattern="^(lossless|h264)$")]
    shape: tuple[Side, Side, Side, Side]  # t h w c of every clip
    fields: tuple[str, ...]
    objects: Annotated[int, Field(strict=True, ge=0, le=255)]  # the largest number of objects in a clip
    splits: dict[Annotated[str, Field(pattern=SPLIT)], Annotated[tuple[Shard, ...], Field(min_length=1)]]
    statistics: dict[str, Any]

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

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
        """The file's content. Names of files that are no text get a mark for what is none."""
        text = json.dumps({"schema": SCHEMA} | asdict(self), ensure_ascii=False)
        tree = json.loads(text.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
        return json.dumps(tree, indent=1).encode()


def read_manifest(url: str | Store) -> Manifest:
    """The manifest of the data set at `url`.

    Raises:
        StorageError: there is no complete data set there, or it is of another version; names the URL.
    """
    store = url if isinstance(url, Store) else open_store(url)
    try:
        data = store.read(MANIFEST, most=MANIFEST_BYTES)
    except NotFound as error:
        shards = any(name.endswith(".tar") for name in store.list())
        left = (
            "an interrupted build left shards but no manifest: build again" if shards else "no data set here"
        )
        raise StorageError(store.url, f"{left} ({MANIFEST} is missing)") from error
    try:
        return parse_manifest(data)
    except ValueError as error:
        reason = f"is damaged or not of schema {SCHEMA} ({error}); build the set again with this version"
        raise StorageError(store.address(MANIFEST), reason) from error


def parse_manifest(data: bytes) -> Manifest:
    """The manifest that `to_json` wrote, by types and bounds, its counts against its sizes.

    Raises:
        ValueError: anything else; says what and why in a few words.
    """
    tree = parse_document(data, MANIFEST_BYTES)
    schema = tree.pop("schema", None)
    if type(schema) is not int or schema != SCHEMA:
        raise ValueError(f"schema: got {shortened(repr(schema))}")
    manifest: Manifest = fitting(Manifest, tree)
    if (
        manifest.fields != tuple(name for name in FIELDS if name in manifest.fields)
        or "frames" not in manifest.fields
    ):
        raise ValueError(f"fields: needs frames, and of {', '.join(FIELDS)} those there are, in this order")
    for name in manifest.fields:
        if (size := FIELDS[name].bytes(manifest.sizes)) > CLIP_BYTES:
            raise ValueError(f"shape: {name} of a clip take {size} bytes, at most {CLIP_BYTES} are read")
    for split, shards in manifest.splits.items():
        for number, shard in enumerate(shards):
            if shard.samples * SAMPLE_BYTES > shard.bytes:
                told = f"{shard.samples} samples do not fit into {shard.bytes} bytes"
                raise ValueError(f"splits.{split}.{number}: {told}")
    return manifest


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
    def from_bytes(cls, data: bytes, shard: Shard) -> "Index":
        """The inverse, of the index of `shard`; ValueError for anything else."""
        try:
            return _index(data, shard)
        except ValueError as error:
            raise ValueError(f"not an index of {shard.name}: {error}") from error


def index_bytes(samples: int) -> int:
    """What the index of a shard takes at most, packed or not."""
    return 2 * sum(_most(samples).values()) + (64 << 10)


def _most(samples: int) -> dict[str, int]:
    """Bytes of each array of an index, at most; a letter takes four."""
    numbers = samples * MEMBERS
    return {
        "keys": 240 * samples,
        "members": 400 * MEMBERS,
        "offsets": 8 * numbers,
        "sizes": 8 * numbers,
        "crcs": 4 * numbers,
    }


def _index(data: bytes, shard: Shard) -> Index:
    """The index of a shard, all of whose members lie within it, one behind the other."""
    arrays = read_npz(data, _most(shard.samples))
    _require_kinds(arrays, shard.samples)
    for name, pattern in (("keys", KEY), ("members", MEMBER)):
        texts = arrays[name].tolist()
        if wrong := [text for text in texts if not allows(pattern, text)]:
            raise ValueError(f"{name}: {shortened(repr(wrong[0]))} is no name that is allowed")
        if len(set(texts)) < len(texts):
            raise ValueError(f"{name}: one comes twice")
    members = tuple(arrays["members"].tolist())
    index = Index(arrays["keys"], members, arrays["offsets"], arrays["sizes"], arrays["crcs"])
    _require_inside(index, shard)
    return index


def _require_kinds(arrays: Mapping[str, Array], n: int) -> None:
    """ValueError unless the arrays are those of an index of `n` samples."""
    if arrays["keys"].shape != (n,):
        raise ValueError(f"holds {arrays['keys'].size} samples, the manifest says {n}")
    m = arrays["members"].size
    wanted: dict[str, tuple[str, tuple[int, ...]]]
    wanted = {"keys": ("<U", (n,)), "members": ("<U", (max(m, 1),))}
    wanted |= {"offsets": ("<i8", (n, m)), "sizes": ("<i8", (n, m)), "crcs": ("<u4", (n, m))}
    for name, (kind, shape) in wanted.items():
        array = arrays[name]
        if not array.dtype.str.startswith(kind) or array.shape != shape:
            raise ValueError(f"{name} are {array.dtype} of {array.shape}, need {kind} of {shape}")


def _require_inside(index: Index, shard: Shard) -> None:
    """ValueError unless members lie one behind the other, and fill the shard to its end."""
    starts, sizes = index.offsets.ravel(), index.sizes.ravel()
    if starts.min(initial=0) < 0 or sizes.min(initial=0) < 0 or max(starts.max(), sizes.max()) > shard.bytes:
        raise ValueError("members lie outside of the shard")
    ends = starts + sizes
    if (ends[:-1] > starts[1:]).any() or not 0 <= shard.bytes - ends[-1] <= TAR_END:
        raise ValueError(f"members do not fill the {shard.bytes} bytes of the shard one behind the other")
