"""A real S3 server: the same samples as from files, through an outage; every refusal one sentence with the URL."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest

from data_shards.__main__ import main
from data_shards.check import check
from data_shards.loader import DataConfig, Loader, scan
from data_shards.manifest import MANIFEST, Index, read_manifest
from data_shards.reader import DamagedSample, ShardError
from data_shards.storage import bucket
from data_shards.storage.place import open_store
from data_shards.storage.store import Changed, NotFound, StorageError, Store
from tests.ceph import Ceph
from tests.clips import build_numbered
from tests.data_shards.storage.test_storage import one_of_many_wins

pytestmark = pytest.mark.service

BATCH, STEPS = 8, 26


@pytest.fixture(scope="module")
def sets(s3: Ceph, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The same 101 clips in a folder and in a bucket."""
    urls = str(tmp_path_factory.mktemp("set")), f"{s3.bucket()}/some/set"
    manifests = [build_numbered(url, 101, 17, shard_bytes=30_000) for url in urls]
    assert manifests[0].splits == manifests[1].splits  # names, sizes and hashes
    return urls


@pytest.fixture
def store(s3: Ceph) -> Iterator[Store]:
    store = open_store(f"{s3.bucket()}/a/prefix", deadline=5)
    yield store
    store.close()


def keys(config: DataConfig, slots: range, start: int = 0, steps: int = STEPS) -> list[list[str]]:
    with Loader(config, "train", BATCH, slots, start_step=start, seed=5) as loader:
        return [batch.keys for batch in islice(loader, steps)]


def test_objects(store: Store) -> None:
    store.put("x/one", b"hello")
    store.put("x/two", b"")
    store.put("other", b"abc")
    assert store.read("x/one") == b"hello"
    assert (store.read("x/one", 1, 3), store.read("x/one", 3), store.read("x/one", 2, 2)) == (
        b"el",
        b"lo",
        b"",
    )
    assert store.read("x/two") == b""
    assert store.list() == {"other": 3, "x/one": 5, "x/two": 0}
    assert store.list("x/") == {"x/one": 5, "x/two": 0}
    assert (store.exists("x/one"), store.exists("x/three"), store.size("x/one")) == (True, False, 5)
    store.put("x/one", b"replaced")
    assert store.read("x/one") == b"replaced"
    store.delete("x/one")
    store.delete("x/one")
    assert not store.exists("x/one")


def test_a_long_list_has_all_pages(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.put(f"{i:04d}", b"x"), range(1010)))
    assert list(store.list()) == [f"{i:04d}" for i in range(1010)]


def test_one_of_many_writers_wins(store: Store) -> None:
    one_of_many_wins(store, 16)


def test_a_large_file_goes_up_in_parts(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket, "PART", 5 << 20)
    data = np.random.default_rng(0).bytes((11 << 20) + 17)
    (tmp_path / "file").write_bytes(data)
    store.put("large", tmp_path / "file")
    assert store.read("large") == data
    assert store.stat("large").version.strip('"').endswith("-3")  # an ETag of three parts


def test_reads_are_pinned_to_a_version(store: Store) -> None:
    store.put("x", b"one")
    version = store.stat("x").version
    assert store.read("x", 0, 2, version=version) == b"on"
    store.put("x", b"two")
    with pytest.raises(Changed, match="replaced"):
        store.read("x", 0, 2, version=version)


def test_short_objects_are_truncated_not_short_reads(store: Store) -> None:
    store.put("x", b"12345")
    for start, end in ((2, 9), (7, 9)):
        with pytest.raises(StorageError, match="truncated") as raised:
            store.read("x", start, end)
        one_sentence(raised.value, f"{store.url}/x")


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_the_store_gives_the_batches_of_the_files(sets: tuple[str, str], ranks: int, workers: int) -> None:
    files, stored = sets
    whole = keys(DataConfig(files, streams=8, block=4), range(BATCH))
    config = DataConfig(stored, workers=workers, streams=8, block=4)
    share = BATCH // ranks
    parts = [keys(config, range(r * share, (r + 1) * share)) for r in range(ranks)]
    assert [list(chain.from_iterable(step)) for step in zip(*parts, strict=True)] == whole
    flat = list(chain.from_iterable(whole))
    assert sorted(flat[:101]) == sorted(flat[101:202]) == [f"train-{i:05d}" for i in range(101)]


def test_resuming_needs_the_step_alone(sets: tuple[str, str]) -> None:
    whole = keys(DataConfig(sets[0], streams=8, block=4), range(BATCH))
    for start in np.random.default_rng(0).choice(STEPS - 1, 20, replace=False).tolist():
        assert (
            keys(DataConfig(sets[1], streams=8, block=4), range(BATCH), start, 2) == whole[start : start + 2]
        )


def test_frames_and_scan_are_those_of_the_files(sets: tuple[str, str]) -> None:
    for a, b in zip(*(scan(DataConfig(url), "val", 4) for url in sets), strict=True):
        assert a.keys == b.keys
        np.testing.assert_array_equal(a.frames, b.frames)


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_keys(sets: tuple[str, str], monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "wrong")
    started = time.monotonic()
    with pytest.raises(StorageError, match="access denied") as raised:
        Loader(DataConfig(sets[1]), "train", BATCH, range(BATCH))
    one_sentence(raised.value, sets[1])
    assert time.monotonic() - started < 5  # at once, not after a deadline


def test_a_missing_bucket(s3: Ceph) -> None:
    url = "s3://there-is-none/set"
    for act in (
        lambda: Loader(DataConfig(url), "train", BATCH, range(BATCH)),
        lambda: build_numbered(url, 3),
        lambda: open_store(url).exists("x"),
        lambda: open_store(url).list(),
    ):
        with pytest.raises(StorageError, match="bucket 'there-is-none' does not exist") as raised:
            act()
        one_sentence(raised.value, url)


def test_a_missing_object(store: Store) -> None:
    for act in (lambda: store.read("nothing"), lambda: store.stat("nothing")):
        with pytest.raises(NotFound) as raised:
            act()
        one_sentence(raised.value, f"{store.url}/nothing")


def truncated(store: Store, name: str, data: bytes) -> None:
    store.put(name, data[:-512])


def flipped(store: Store, name: str, data: bytes) -> None:
    (table,) = (n for n in store.list(name.removesuffix(".tar")) if n.endswith(".index.npz"))
    (shard,) = (s for s in read_manifest(store.url).splits["train"] if s.name == name)
    index = Index.from_bytes(store.read(table), shard)
    position = int(index.offsets[0, index.column("frames.npy.zst")]) + 20
    store.put(name, data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])


def removed(store: Store, name: str, data: bytes) -> None:
    store.delete(name)


def half_uploaded(store: Store, name: str, data: bytes) -> None:
    """Shards, but no manifest: the build died."""
    store.delete(MANIFEST)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("harm", "error", "word"),
    [
        (truncated, ShardError, "truncated"),
        (flipped, DamagedSample, "damaged"),
        (removed, ShardError, "missing"),
        (half_uploaded, StorageError, "interrupted build"),
    ],
)
def test_damage_is_one_sentence_with_the_url(
    s3: Ceph, harm: object, error: type[StorageError], word: str, workers: int
) -> None:
    url = f"{s3.bucket()}/set"
    name = build_numbered(url, 30).splits["train"][1].name
    store = open_store(url)
    harm(store, name, store.read(name))  # type: ignore[operator]
    started = time.monotonic()
    with (
        pytest.raises(error, match=word) as raised,
        Loader(DataConfig(url, workers=workers), "train", BATCH, range(BATCH)) as loader,
    ):
        for _ in islice(loader, 8):
            pass
    one_sentence(raised.value, url if harm is half_uploaded else f"{url}/{name}")
    assert time.monotonic() - started < 10


def test_check_finds_damage_on_the_store(
    s3: Ceph, sets: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", sets[1]]) == 0
    url = f"{s3.bucket()}/set"
    name = build_numbered(url, 30).splits["train"][0].name
    store = open_store(url)
    flipped(store, name, store.read(name))
    assert main(["check", url]) == 2
    assert f"{url}/{name}" in capsys.readouterr().err
    assert len(check(url).problems) == 1


def test_a_build_onto_a_set_is_refused(sets: tuple[str, str]) -> None:
    with pytest.raises(FileExistsError, match=sets[1]):
        build_numbered(sets[1], 3)


def test_an_interrupted_build_is_continued(s3: Ceph) -> None:
    """The second build finds the first one's shards by their content, and uploads only the rest."""
    url = f"{s3.bucket()}/set"
    manifest = build_numbered(url, 60)
    store = open_store(url)
    kept, lost, spoilt = (shard.name for shard in manifest.splits["train"][:3])
    flipped(store, spoilt, store.read(spoilt))
    store.delete(lost)
    store.delete(MANIFEST)
    before = modified(store, kept)
    assert build_numbered(url, 60).splits == manifest.splits
    assert modified(store, kept) == before
    assert read_manifest(url).splits == manifest.splits
    assert not check(url).problems


def modified(store: Store, name: str) -> object:
    import s3fs

    filesystem = s3fs.S3FileSystem(skip_instance_cache=True)
    return filesystem.info(f"{store.address(name).removeprefix('s3://')}")["LastModified"]


def one_sentence(error: Exception, name: str) -> None:
    text = str(error)
    assert name in text
    assert "\n" not in text
    assert len(text) < 400


def test_keys_are_not_in_messages(sets: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    with pytest.raises(StorageError) as raised:
        read_manifest(sets[1])
    assert secret not in str(raised.value)


# Last, since a gateway that died is waited for by the next one when it makes a bucket.
@pytest.mark.parametrize("workers", [0, 1])
def test_an_outage_is_a_pause(s3: Ceph, sets: tuple[str, str], workers: int) -> None:
    """The gateway is killed in mid-epoch and comes back 10 s later: the same clips in the same order, none lost."""
    whole = keys(DataConfig(sets[0], streams=8, block=4), range(BATCH))
    # Small extents and little lookahead: nearly every batch needs the server.
    config = DataConfig(sets[1], workers=workers, streams=8, block=4, extent_bytes=1, ahead=1, deadline=120)
    got, gaps = [], []
    back = threading.Timer(10, s3.start_gateway)
    with Loader(config, "train", BATCH, range(BATCH), seed=5) as loader:
        batches = iter(loader)
        got += [batch.keys for batch in islice(batches, 5)]
        s3.kill_gateway()
        back.start()
        try:
            for _ in range(STEPS - 5):
                started = time.monotonic()
                got.append(next(batches).keys)
                gaps.append(time.monotonic() - started)
        finally:
            back.join()
        assert loader.counters.retries > 0
    assert got == whole
    assert max(gaps) > 8


def test_an_outage_beyond_the_deadline_is_an_error(s3: Ceph, sets: tuple[str, str]) -> None:
    config = DataConfig(sets[1], extent_bytes=1, ahead=1, deadline=1)
    with Loader(config, "train", BATCH, range(BATCH)) as loader:
        batches = iter(loader)
        next(batches)
        s3.kill_gateway()
        try:
            with pytest.raises(StorageError, match="no answer for") as raised:
                for _ in islice(batches, 20):
                    pass
        finally:
            s3.start_gateway()
    one_sentence(raised.value, sets[1])
