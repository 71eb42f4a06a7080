"""python -m tests.fuzzing [--executions N] [--seed S] [TARGET ...]: what storage holds, changed, and what reads it.

Each target takes whole bytes, changes them, as trees or byte by byte, and corrects the hashes and checksums that would
give the change away: what is left to refuse it is what the code knows. Only UserError and StorageError may come of it.
One line a target: executions, seconds, what came of them, by how much the largest memory of the process grew, and what
a single execution has allocated at most: bytes, and as a share of its cap (see Execution).
"""

import argparse
import hashlib
import io
import json
import random
import resource
import tempfile
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from data_shards.assembly import Assembly
from data_shards.clip import FIELDS
from data_shards.encoding import encode
from data_shards.manifest import MANIFEST, Index, Manifest, Shard, index_bytes, read_manifest
from data_shards.mistake import UserError
from data_shards.reader import Reader
from data_shards.show import decoded_clip
from data_shards.storage.store import NotFound, Stat, StorageError, Store
from tests.clips import Numbered
from trainer.checkpoints.checkpoint import FOLDER, Checkpoint, read_checkpoint
from trainer.checkpoints.checkpoint import MANIFEST as CHECKPOINT
from trainer.checkpoints.restore import changes, timeline_of
from trainer.overrides import resolve
from trainer.recipes import RECIPES

ALLOWED = (UserError, StorageError)
FIXED = 1 << 17  # bytes that a reader with its thread, or a small document, takes whatever is in it


@dataclass(frozen=True)
class Execution:
    """One input and what reads it; no more than twice `cap` bytes may be allocated meanwhile."""

    read: Callable[[], object]
    cap: int = FIXED


TOKENS = [
    b"NaN",
    b"1e999",
    b"-1",
    b"9" * 400,
    b"[" * 300,
    b'{"a":' * 90,
    b'"',
    b"\\ud800",
    b"\x00",
    b"\xff\xfe",
    b"../",
]
TOKENS += [
    b"true",
    b"null",
    b",",
    b"}",
    b"\x28\xb5\x2f\xfd",
    b"PK\x05\x06",
    b"\x93NUMPY",
    b"moov",
    b"\xff\xff\xff\xff",
]
VALUES: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2**31,
    2**63,
    10**30,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
]
VALUES += [
    "",
    "../x",
    "/etc/x",
    "s3://b/x",
    "a" * 5000,
    "\ud800",
    "\x00",
    "1",
    "..",
    [],
    {},
    [[]] * 50,
    {"": {}},
]


class Memory(Store):
    """Objects in memory."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.url, self.objects = "memory", objects

    def stat(self, name: str) -> Stat:
        return Stat(len(self._found(name)), "1")

    def read(
        self,
        name: str,
        start: int | None = None,
        end: int | None = None,
        version: str | None = None,
        most: int | None = None,
    ) -> bytes:
        data = self._found(name)[start:end]
        self.require_at_most(name, len(data), most)
        if end is not None and len(data) < end - (start or 0):
            raise StorageError(self.address(name), "truncated")
        return data

    def put(self, name: str, source: bytes | Path, if_absent: bool = False) -> None:
        raise NotImplementedError

    def abandon(self, name: str, data: bytes) -> None:
        raise NotImplementedError

    def list(self, prefix: str = "", unread: dict[str, str] | None = None) -> dict[str, int]:
        return {name: len(data) for name, data in self.objects.items() if name.startswith(prefix)}

    def delete(self, name: str) -> None:
        raise NotImplementedError

    def _found(self, name: str) -> bytes:
        if name not in self.objects:
            raise NotFound(self.address(name), "no such object")
        return self.objects[name]


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """`data` with one to four changes."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, len(made))
        stop = min(len(made), start + rng.choice((1, 1, 4, 16, 200)))
        match rng.randrange(6):
            case 0 if start < len(made):
                made[start] ^= 1 << rng.randrange(8)
            case 1:
                made[start:stop] = rng.randbytes(stop - start)
            case 2:
                del made[start:stop]
            case 3:
                made[start:start] = made[start:stop]
            case 4:
                made[start:stop] = rng.choice(TOKENS)
            case _ if rng.random() < 0.2:
                del made[start:]
    return bytes(made)


def mutated_tree(tree: Any, rng: random.Random) -> Any:
    """A copy of `tree` with one value changed, or one entry named otherwise, left out, put in."""
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.1:
        return rng.choice((*VALUES, tree, [tree], {"a": tree}, str(tree), [tree] * 3))
    made: Any = tree.copy()
    place = rng.choice(list(made)) if isinstance(made, dict) else rng.randrange(len(made))
    match rng.randrange(8):
        case 0:
            del made[place]
        case 1 if isinstance(made, dict):
            made[rng.choice(("../x", "a", "", "schema", "\x00", "name"))] = made.pop(place)
        case 2 if isinstance(made, dict):
            made[rng.choice(("a", "/x", "surprise"))] = rng.choice(VALUES)
        case _:
            made[place] = mutated_tree(made[place], rng)
    return made


def mutated_json(tree: Any, rng: random.Random) -> bytes:
    """The text of a tree that was changed as a tree, as text, or as both."""
    way = rng.randrange(3)
    changed = (
        tree
        if way == 0
        else mutated_tree(mutated_tree(tree, rng), rng)
        if way == 1
        else mutated_tree(tree, rng)
    )
    data = json.dumps(changed).encode()
    return mutated_bytes(data, rng) if way == 0 or rng.random() < 0.1 else data


def packed(samples: list[dict[str, bytes]]) -> tuple[bytes, Index]:
    """A shard of these samples, without tar's headers, and its index."""
    data, rows = bytearray(), []
    for members in samples:
        row = []
        for content in members.values():
            data += bytes(512)
            row.append((len(data), len(content), zlib.crc32(content)))
            data += content + bytes(-len(content) % 512)
        rows.append(row)
    table = np.array(rows, np.int64)
    keys = np.array([f"key-{i}" for i in range(len(samples))])
    columns = table[:, :, 0], table[:, :, 1], table[:, :, 2].astype(np.uint32)
    return bytes(data) + bytes(1024), Index(keys, tuple(samples[0]), *columns)


def shard_of(data: bytes, index: bytes, samples: int) -> Shard:
    """The row of a manifest."""
    digests = (hashlib.sha256(part).hexdigest() for part in (data, index))
    return Shard("a.tar", samples, len(data), next(digests), "a.index.npz", next(digests))


def set_of(shard: Shard, video_encoding: str, channels: int, truth: bool, size: int = 16) -> Manifest:
    """A set of Numbered clips of `size` x `size` in one shard."""
    fields = tuple(FIELDS)[:7] if truth else ("frames",)
    shape = (3, size, size, channels)
    return Manifest(
        "numbered", {"size": size}, 0, video_encoding, shape, fields, 3, {"train": (shard,)}, {"seconds": 1.5}
    )


def read_all(manifest: Manifest, data: bytes, index: bytes) -> None:
    """Every sample of the one shard, as the loader reads it and as `show` does."""
    (shard,) = manifest.splits["train"]
    store = Memory({shard.name: data, shard.index: index})
    for wanted in (lambda member: member != "json", lambda member: True):
        with closing(Reader(store, [shard], wanted, manifest.sizes, threads=1)) as reader:
            if not wanted("json"):
                Assembly(reader, manifest, manifest.fields).batch([0] * shard.samples, range(shard.samples))
            else:
                decoded_clip(reader, 0, shard.samples - 1, manifest)


def manifests(rng: random.Random) -> Iterator[Execution]:
    """A data set's manifest.json."""
    shards = tuple(replace(shard_of(bytes(20_000), b"x", 9), name=f"train-{i}.tar") for i in range(3))
    whole = replace(set_of(shards[0], "lossless", 3, True), splits={"train": shards, "val": shards[:1]})
    tree = json.loads(whole.to_json())
    while True:
        data = mutated_json(tree, rng)
        yield Execution(partial(read_manifest, Memory({MANIFEST: data})))


def indexes(rng: random.Random) -> Iterator[Execution]:
    """A shard's index: its zip, or the arrays within."""
    data, index = packed([encode(Numbered(16).clip("train", i, 0)) for i in range(4)])
    whole = index.to_bytes()
    arrays = vars(index) | {"members": np.array(index.members)}
    while True:
        changed = mutated_bytes(whole, rng)
        if rng.random() < 0.7:
            changed = _npz(arrays, rng)
        manifest = set_of(shard_of(data, changed, 4), "lossless", 1, False)
        yield Execution(partial(read_all, manifest, data, changed), FIXED + index_bytes(4))


def _npz(arrays: dict[str, Any], rng: random.Random) -> bytes:
    """An index with one array changed: its numbers, its names, its type, its size."""
    name = rng.choice(list(arrays))
    array = arrays[name].copy()
    match rng.randrange(5):
        case 0:
            array.flat[rng.randrange(array.size)] = (
                rng.choice(["../x", "a\n", "", "/x"])
                if array.dtype.kind == "U"
                else rng.choice([0, 7, 2**31, 600])
            )
        case 1 if array.dtype.kind != "U":
            array.flat[rng.randrange(array.size)] ^= array.dtype.type(1 << rng.randrange(31))
        case 2:
            array = array[: rng.randint(0, len(array))]
        case 3:
            array = np.zeros(rng.choice([0, 1, 10**5]), rng.choice(["u1", "f8", "<U3", "<i8"]))
        case _:
            raw = bytearray(array.tobytes())
            raw[rng.randrange(len(raw))] ^= 255
            array = np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays | {name: array})
    return buffer.getvalue()


@cache
def whole_samples(size: int) -> list[tuple[dict[str, bytes], tuple[str, int, bool]]]:
    """Members of a sample with all fields and of one of film, and what a set says of each."""
    return [
        (encode(Numbered(size, truth=True).clip("train", 2, 0)), ("lossless", 1, True)),
        (encode(Numbered(size, 3).clip("train", 2, 0), "h264"), ("h264", 3, False)),
    ]


def samples(rng: random.Random, size: int = 16) -> Iterator[Execution]:
    """The members of a sample: packed arrays, what is in the pack, films, facts."""
    while True:
        members, how = whole_samples(size)[rng.random() < 0.3]
        name = rng.choice(list(members))
        content = members[name]
        if name.endswith("zst") and rng.random() < 0.7:
            raw = mutated_bytes(zstandard.ZstdDecompressor().decompress(content), rng)
            content = zstandard.ZstdCompressor().compress(
                raw * rng.choice((1, 1, 1, 1 + (2 << 20) // (len(raw) + 1)))
            )
        elif name == "json":
            content = mutated_json(json.loads(content), rng)
        else:
            content = mutated_bytes(content, rng)
        data, index = packed([members | {name: content}])
        table = index.to_bytes()
        manifest = set_of(shard_of(data, table, 1), *how, size)
        clip = sum(FIELDS[name].bytes(manifest.sizes) for name in manifest.fields)
        yield Execution(partial(read_all, manifest, data, table), FIXED + clip + len(data))


def checkpoints(rng: random.Random) -> Iterator[Execution]:
    """A checkpoint's manifest, and what a resume asks of it."""
    config = RECIPES["demo"]()
    files = {
        "first/rank-00000/weights.pt": (100, "ab" * 32),
        "first/rank-00000/state/x/y_states.pt": (9, "cd" * 32),
    }
    tree = config.model_dump(mode="json")
    progress = {"first_start": 1.5e9, "seconds": {"productive": 2.5}}
    whole = Checkpoint(7, 1, 0, "first", tree, config.digest(), "0123abc", progress, "0123456789ab", files)
    name = f"{whole.folder}/{CHECKPOINT}"
    assert name.startswith(FOLDER)

    def read(data: bytes) -> None:
        store = Memory({name: data})
        found = read_checkpoint(store, 7)
        timeline_of(store, found)
        changes(found, config, "0123456789ab")

    while True:
        data = mutated_json(json.loads(json.dumps(asdict(whole))), rng)
        yield Execution(partial(read, data), 2 * FIXED)


def configs(rng: random.Random) -> Iterator[Execution]:
    """A run's config.json, given to `--config`."""
    trees = [recipe().model_dump(mode="json") for recipe in RECIPES.values()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        while True:
            tree = rng.choice(trees)
            path.write_bytes(mutated_json(rng.choice((tree, {"config": tree, "digest": "x"})), rng))
            yield Execution(partial(resolve, None, [], file=str(path)), 8 * FIXED)


TARGETS = {
    "manifest": manifests,
    "index": indexes,
    "sample": samples,
    "checkpoint": checkpoints,
    "config": configs,
}


@dataclass
class Found:
    """How often each came of it: "accepted", or the name of one of the ALLOWED errors; the largest allocations."""

    counts: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    share: float = 0.0  # of the cap


def fuzz(target: str, executions: int, seed: int, measured: bool = True) -> Found:
    """What came of so many inputs. Raises AssertionError for what is not allowed."""
    found = Found()
    inputs = TARGETS[target](random.Random(seed))
    for number in range(executions):
        try:
            outcome, size, share = execute(next(inputs), measured)
        except Exception as error:
            raise AssertionError(f"{target} {number} of seed {seed}: {error!r:.300}") from error
        found.counts[outcome] += 1
        found.bytes, found.share = max(found.bytes, size), max(found.share, share)
    return found


def execute(execution: Execution, measured: bool = True) -> tuple[str, int, float]:
    """What came of one input; `measured`, the bytes it took at most, and their share of its cap."""
    if measured:
        tracemalloc.start()  # and not for longer: making inputs would take twice the time
    outcome = "accepted"
    try:
        execution.read()
    except ALLOWED as error:
        outcome, text = type(error).__name__, str(error)
        assert "\n" not in text, f"no sentence: {text[:2000]!r}"
        assert len(text) <= 3000, f"no sentence: {text[:2000]!r}"
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size <= 2 * execution.cap, f"{size} bytes, more than twice {execution.cap}"
    return outcome, size, size / execution.cap


def main() -> None:
    """Print a line for each target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default"
    )
    parser.add_argument("--executions", type=int, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    given = parser.parse_args()
    for target in given.targets or TARGETS:
        fuzz(target, 100, given.seed + 1)  # what is loaded once is not counted
        before, started = _peak(), time.perf_counter()
        found = fuzz(target, given.executions, given.seed)
        seconds = time.perf_counter() - started
        told = ", ".join(f"{name} {count}" for name, count in sorted(found.counts.items()))
        print(
            f"{target}: {given.executions} executions in {seconds:.0f} s; {told}; {_peak() - before:.1f} MB more; "
            f"one at most {found.bytes} bytes, {found.share:.2f} of its cap",
            flush=True,
        )


def _peak() -> float:
    """MB, of the process at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
