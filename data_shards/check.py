"""python -m data_shards check URL: everything that can be wrong with a data set, told at once.

Hashes, counts, whether each clip can be decoded, and leakage between splits. All of the set is read.
"""

import hashlib
import io
import sys
import tarfile
import zlib
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field

from data_shards.clip import num_objects
from data_shards.commands import given_place
from data_shards.encoding import DecodeError, decode
from data_shards.manifest import Index, Manifest, Shard, index_bytes, read_manifest
from data_shards.mistake import printable
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError, Store

SHOWN = 10  # problems printed; the rest are counted


@dataclass
class Findings:
    """Problems, each a sentence with a URL; clips and bytes that were looked at, by split."""

    problems: list[str] = field(default_factory=list)
    clips: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)


def check(url: str) -> Findings:
    """Read all of the data set at `url`, one shard in memory at a time.

    Raises:
        StorageError: there is no complete data set, or the store refuses.
    """
    store = open_store(url)
    manifest = read_manifest(store)
    findings = Findings()
    keys: dict[str, str] = {}
    seen: dict[bytes, tuple[str, str]] = {}  # hash of frames -> (split, key)
    objects = 0
    for split, shards in manifest.splits.items():
        findings.clips[split] = findings.bytes[split] = 0
        for shard in shards:
            try:
                data, index = _verified(store, shard)
            except StorageError as error:
                findings.problems.append(str(error))
                continue
            findings.bytes[split] += len(data)
            for key, digest, problem, there in _samples(shard, data, index, manifest):
                findings.clips[split] += 1
                objects = max(objects, there)
                if problem:
                    findings.problems.append(f"{store.address(shard.name)}: sample {key}: {problem}")
                    continue
                if keys.setdefault(key, split) != split:
                    findings.problems.append(f"{store.url}: key {key} is in {keys[key]} and in {split}")
                other_split, other = seen.setdefault(digest, (split, key))
                if other_split != split:
                    findings.problems.append(
                        f"{store.url}: leakage: clip {key} of {split} has the frames of {other} of {other_split}"
                    )
        if findings.clips[split] != manifest.samples(split) and not findings.problems:
            findings.problems.append(
                f"{store.url}: {split} has {findings.clips[split]} clips, the manifest says {manifest.samples(split)}"
            )
    if objects != manifest.objects and not findings.problems:
        told = f"clips have at most {objects} objects, the manifest says {manifest.objects}"
        findings.problems.append(f"{store.url}: {told}")
    listed = {name for shards in manifest.splits.values() for s in shards for name in (s.name, s.index)}
    findings.strays = [
        name for name in store.list() if name.endswith((".tar", ".index.npz")) and name not in listed
    ]
    return findings


def _verified(store: Store, shard: Shard) -> tuple[bytes, Index]:
    """A shard's bytes and nothing else, and its index."""
    data = store.read(shard.name, most=shard.bytes)
    if len(data) != shard.bytes:
        raise StorageError(
            store.address(shard.name),
            f"has {len(data)} bytes, the manifest says {shard.bytes}: truncated or replaced",
        )
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise StorageError(store.address(shard.name), "is damaged: its SHA-256 is not the manifest's")
    table = store.read(shard.index, most=index_bytes(shard.samples))
    if hashlib.sha256(table).hexdigest() != shard.index_sha256:
        raise StorageError(store.address(shard.index), "is damaged: its SHA-256 is not the manifest's")
    try:
        return data, Index.from_bytes(table, shard)
    except ValueError as error:
        raise StorageError(store.address(shard.index), f"is damaged: {error}") from error


def _members(data: bytes) -> dict[str, dict[str, tuple[int, int]]]:
    """Place and size of each member by key and name; none where the bytes are no tar."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for info in tar:
                key, _, name = info.name.partition(".")
                found.setdefault(key, {})[name] = (info.offset_data, info.size)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError):
        return {}
    return found


def _samples(
    shard: Shard, data: bytes, index: Index, manifest: Manifest
) -> Iterator[tuple[str, bytes, str, int]]:
    """(key, hash of the frames, problem or "", objects) of each sample, parsed as any reader of tars would."""
    found = _members(data)
    if list(found) != index.keys.tolist():
        yield shard.name, b"", "the tar has other samples than its index", 0
        return
    for row, (key, members) in enumerate(found.items()):
        parts = {name: data[start : start + size] for name, (start, size) in members.items()}
        listed = zip(index.members, index.offsets[row], index.sizes[row], index.crcs[row], strict=True)
        if {name: (int(o), int(s), int(c)) for name, o, s, c in listed} != {
            name: (*members[name], zlib.crc32(part)) for name, part in parts.items()
        }:
            yield key, b"", "the tar has other members than its index", 0
            continue
        try:
            clip = decode(key, parts, manifest.sizes)
        except DecodeError as error:
            yield key, b"", str(error), 0
            continue
        missing = [name for name in manifest.fields if getattr(clip, name) is None]
        objects, shown = num_objects(clip), clip.frames.tobytes()
        # Black because there is no object: like any other such clip, and no leakage.
        if manifest.objects and not objects and not clip.frames.any():
            shown += key.encode()
        digest = hashlib.sha256(shown).digest()
        yield key, digest, f"no {', '.join(missing)}" if missing else "", objects


def options(parser: ArgumentParser) -> None:
    """Which set."""
    parser.add_argument(
        "url", type=given_place, metavar="URL", help="of the data set: a folder or s3://bucket/prefix"
    )


def run(given: Namespace) -> int:
    """0: the set is whole. 2: it is not; what was found is on stderr."""
    findings = check(given.url)
    for split, clips in findings.clips.items():
        print(f"{split}: {clips} clips, {findings.bytes[split] / 1e6:.1f} MB read")
    if findings.strays:
        print(
            f"{len(findings.strays)} files of interrupted builds, such as {findings.strays[0]}: may be deleted"
        )
    for problem in findings.problems[:SHOWN]:
        print(printable(problem), file=sys.stderr)
    if more := findings.problems[SHOWN:]:
        print(f"and {len(more)} more problems", file=sys.stderr)
    if not findings.problems:
        print(f"{given.url}: whole; hashes, counts, every clip and the separation of the splits are right")
    return 2 if findings.problems else 0
