"""The same batches for any ranks, workers and start; damage found, or replaced the same way everywhere."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_shards.clip import Batch
from data_shards.loader import Counters, DataConfig, Loader, scan
from data_shards.manifest import Index, read_manifest
from data_shards.reader import DamagedSample, Reader, ShardError
from data_shards.storage.store import StorageError
from tests.clips import Numbered, build_numbered

SAMPLES, BATCH = 101, 8
STEPS = 26  # two epochs and a bit


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """101 clips in some ten shards."""
    url = str(tmp_path_factory.mktemp("set"))
    manifest = build_numbered(url, SAMPLES, 17, shard_bytes=30_000)
    assert len(manifest.splits["train"]) > 5
    return url


@pytest.fixture(scope="module")
def sequence(url: str) -> list[list[str]]:
    """Keys of every global batch of one rank without workers."""
    return keys(DataConfig(url, streams=8, block=4), range(BATCH))


def keys(config: DataConfig, slots: range, start: int = 0, steps: int = STEPS) -> list[list[str]]:
    with Loader(config, "train", BATCH, slots, start_step=start, seed=5) as loader:
        return [batch.keys for batch in islice(loader, steps)]


def test_every_epoch_shows_each_clip_once(sequence: list[list[str]]) -> None:
    flat = [key for batch in sequence for key in batch]
    everything = [f"train-{i:05d}" for i in range(SAMPLES)]
    assert sorted(flat[:SAMPLES]) == sorted(flat[SAMPLES : 2 * SAMPLES]) == everything
    assert flat[:SAMPLES] != flat[SAMPLES : 2 * SAMPLES]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_ranks_and_workers_do_not_change_the_batches(
    url: str, sequence: list[list[str]], ranks: int, workers: int
) -> None:
    config = DataConfig(url, workers=workers, streams=8, block=4)
    share = BATCH // ranks
    parts = [keys(config, range(r * share, (r + 1) * share)) for r in range(ranks)]
    assert [list(chain.from_iterable(of_step)) for of_step in zip(*parts, strict=True)] == sequence


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_needs_the_step_alone(url: str, sequence: list[list[str]], workers: int) -> None:
    starts = random.Random(1).sample(range(STEPS - 1), 20 if not workers else 3)
    config = DataConfig(url, workers=workers, streams=8, block=4)
    for start in starts:
        assert keys(config, range(BATCH), start, 2) == sequence[start : start + 2]


def test_batches_hold_what_the_clips_held(url: str) -> None:
    source = Numbered()
    with Loader(DataConfig(url), "train", 6, range(6), seed=2) as loader:
        batch = next(iter(loader))
    for key, frames in zip(batch.keys, batch.frames, strict=True):
        clip = source.clip("train", int(key[-5:]), 0)
        np.testing.assert_array_equal(frames, clip.frames)


def test_truth_is_padded_and_present_tells_where(tmp_path: Path) -> None:
    build_numbered(str(tmp_path), 20, truth=True)
    source = Numbered(truth=True)
    for workers in (0, 2):
        config = DataConfig(str(tmp_path), workers=workers)
        with Loader(config, "train", 6, range(6), fields=None) as loader:
            batches = list(islice(loader, 4))
        for batch in batches:
            for row, key in enumerate(batch.keys):
                check_row(batch, row, source.clip("train", int(key[-5:]), 0))


def check_row(batch: Batch, row: int, clip: object) -> None:
    n = clip.depth_ranks.shape[0]  # type: ignore[attr-defined]
    assert batch.present is not None
    assert batch.present[row].tolist() == [1] * n + [0] * (3 - n)
    axes = {"amodal_masks": 1, "depth_ranks": 0, "centres": 1, "velocities": 1, "colours": 0}
    for name in ("frames", "visible_ids", *axes):
        wanted, got = getattr(clip, name), getattr(batch, name)[row]
        if name in axes:
            rest = np.moveaxis(got, axes[name], 0)
            assert not rest[n:].any()
            got = np.moveaxis(rest[:n], 0, axes[name])
        np.testing.assert_array_equal(got, wanted)


def test_fields_are_decoded_only_when_asked_for(tmp_path: Path) -> None:
    build_numbered(str(tmp_path), 4, truth=True)
    config = DataConfig(str(tmp_path))
    with Loader(config, "train", 2, range(2)) as loader:
        batch = next(iter(loader))
    assert batch.visible_ids is None
    assert batch.present is None
    with Loader(config, "train", 2, range(2), fields=("visible_ids",)) as loader:
        batch = next(iter(loader))
    assert batch.visible_ids is not None
    assert batch.centres is None


@pytest.mark.parametrize("world", [1, 2, 3, 40])
def test_scan_shows_each_clip_once_in_order(url: str, world: int) -> None:
    seen = [batch.keys for rank in range(world) for batch in scan(DataConfig(url), "val", 4, rank, world)]
    assert list(chain.from_iterable(seen)) == [f"val-{i:05d}" for i in range(17)]
    assert all(1 <= len(batch) <= 4 for batch in seen)


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 16, 17, 100])
@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_a_limited_scan_shows_the_same_first_clips_on_any_number_of_ranks(
    url: str, limit: int, world: int
) -> None:
    config = DataConfig(url)
    seen = [b.keys for rank in range(world) for b in scan(config, "val", 2, rank, world, limit=limit)]
    assert list(chain.from_iterable(seen)) == [f"val-{i:05d}" for i in range(min(limit, 17))]


def test_small_extents_and_few_threads_change_nothing(url: str, sequence: list[list[str]]) -> None:
    config = DataConfig(url, streams=8, block=4, extent_bytes=1, ahead=1, threads=1)
    assert keys(config, range(BATCH)) == sequence


@pytest.mark.parametrize("workers", [0, 2])
def test_counters(url: str, workers: int) -> None:
    config = DataConfig(url, workers=workers, streams=8, ahead=1, extent_bytes=1)
    with Loader(config, "train", BATCH, range(BATCH)) as loader:
        for _ in islice(loader, STEPS):
            pass
        assert loader.counters.samples == STEPS * BATCH
        assert loader.counters.retries == loader.counters.damaged_samples == 0
        # Members with their headers and padding, a step ahead, and once the index of each shard.
        assert 1.0 < loader.counters.bytes / read(url, config, STEPS * BATCH) < 1.4


def read(url: str, config: DataConfig, samples: int) -> float:
    """Bytes of the frames of so many clips, as stored."""
    manifest, total, count = read_manifest(url), 0, 0
    for shard in manifest.splits["train"]:
        index = Index.from_bytes(Path(url, shard.index).read_bytes())
        total += int(index.sizes[:, index.column("frames.npy.zst")].sum())
        count += len(index)
    return samples * total / count


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("many"))
    build_numbered(url, 3000, shard_bytes=1_000_000)
    return url


@pytest.mark.parametrize("clips", [1, 5, 40])  # of an extent
@pytest.mark.parametrize("batch", [8, 48, 256])
def test_what_is_asked_for_is_read_once(many: str, clips: int, batch: int) -> None:
    manifest = read_manifest(many)
    config = DataConfig(many, extent_bytes=clips * manifest.size("train") // 3000)
    steps = 6000 // batch
    with Loader(config, "train", batch, range(batch)) as loader:
        for _ in islice(loader, steps):
            pass
        # Fetched in one piece with its samples: what lies between their frames. Ahead: eight steps.
        whole = manifest.size("train") * (steps + config.ahead) * batch / 3000
        assert loader.counters.bytes < 1.15 * whole
    ranks = 0
    for rank in range(4):
        slots = range(rank * batch // 4, (rank + 1) * batch // 4)
        with Loader(config, "train", batch, slots) as loader:
            for _ in islice(loader, steps):
                pass
            ranks += loader.counters.bytes
    assert ranks < (1.3 if clips < 40 else 2.0) * whole  # neighbouring streams share the extents between them


@pytest.mark.parametrize("clips", [1, 5, 40])
def test_a_scan_reads_all_once(many: str, clips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(Reader, "_count", lambda self, size: sizes.append(size))
    size = read_manifest(many).size("train")
    for _ in scan(DataConfig(many, extent_bytes=clips * size // 3000), "train", 32):
        pass
    assert sum(sizes) < 1.05 * size


def damage(url: str, shard: int, sample: int, byte: int = 20) -> str:
    """Flip a bit of a sample's frames, on disk; returns its key."""
    entry = read_manifest(url).splits["train"][shard]
    index = Index.from_bytes(Path(url, entry.index).read_bytes())
    path = Path(url, entry.name)
    data = bytearray(path.read_bytes())
    data[int(index.offsets[sample, index.column("frames.npy.zst")]) + byte] ^= 4
    path.write_bytes(data)
    return str(index.keys[sample])


def all_keys(config: DataConfig, slots: range, batch: int, steps: int) -> tuple[list[str], Counters]:
    with Loader(config, "train", batch, slots) as loader:
        return [key for b in islice(loader, steps) for key in b.keys], loader.counters


@pytest.mark.parametrize("workers", [0, 2])
def test_a_flipped_bit_is_an_error_that_names_shard_and_sample(tmp_path: Path, workers: int) -> None:
    build_numbered(str(tmp_path), 30)
    key = damage(str(tmp_path), 1, 2)
    with pytest.raises(DamagedSample, match=key) as raised:
        all_keys(DataConfig(str(tmp_path), workers=workers), range(5), 5, 6)
    one_sentence(raised.value, read_manifest(str(tmp_path)).splits["train"][1].name)


def test_damaged_samples_are_replaced_alike_on_every_rank(tmp_path: Path) -> None:
    url = str(tmp_path)
    manifest = build_numbered(url, 40)
    size = manifest.splits["train"][0].samples
    whole, _ = all_keys(DataConfig(url), range(8), 8, 5)
    bad = damage(url, 0, 0), damage(url, 0, size - 1)  # the last is replaced by the first whole one
    config = DataConfig(url, damage="replace")
    got, counters = all_keys(config, range(8), 8, 5)
    assert counters.damaged_samples == 2
    replaced = {bad[0]: f"train-{1:05d}", bad[1]: f"train-{1:05d}"}
    assert got == [replaced.get(key, key) for key in whole]
    parts = [all_keys(config, range(r, r + 4), 8, 5)[0] for r in (0, 4)]
    assert [k for s in range(5) for p in parts for k in p[4 * s : 4 * s + 4]] == got


def test_a_shard_without_a_whole_sample_is_an_error_even_so(tmp_path: Path) -> None:
    manifest = build_numbered(str(tmp_path), 3, shard_bytes=1)
    damage(str(tmp_path), 0, 0)
    assert manifest.splits["train"][0].samples == 1
    with pytest.raises(DamagedSample):
        all_keys(DataConfig(str(tmp_path), damage="replace"), range(3), 3, 1)


def truncate(url: Path) -> str:
    path = url / read_manifest(str(url)).splits["train"][0].name
    path.write_bytes(path.read_bytes()[:-512])
    return path.name


def remove_shard(url: Path) -> str:
    path = url / read_manifest(str(url)).splits["train"][0].name
    path.unlink()
    return path.name


def remove_index(url: Path) -> str:
    path = url / read_manifest(str(url)).splits["train"][0].index
    path.unlink()
    return path.name


def spoil_index(url: Path) -> str:
    path = url / read_manifest(str(url)).splits["train"][0].index
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    return path.name


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("harm", [truncate, remove_shard, remove_index, spoil_index])
def test_a_damaged_shard_is_an_error_that_names_it(tmp_path: Path, harm: object, workers: int) -> None:
    build_numbered(str(tmp_path), 30)
    name = harm(tmp_path)  # type: ignore[operator]
    config = DataConfig(str(tmp_path), workers=workers, damage="replace")
    with pytest.raises(ShardError) as raised:
        all_keys(config, range(5), 5, 6)
    one_sentence(raised.value, name)


def test_a_shard_replaced_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    build_numbered(str(tmp_path), 30)
    config = DataConfig(str(tmp_path), extent_bytes=1, ahead=1)
    with Loader(config, "train", 1, range(1)) as loader:
        batches = iter(loader)
        next(batches)
        time.sleep(0.05)
        for shard in read_manifest(str(tmp_path)).splits["train"]:
            path = tmp_path / shard.name
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)
        with pytest.raises(ShardError, match="replaced"):
            for _ in islice(batches, 60):
                pass


def test_without_a_manifest_there_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no data set here") as raised:
        Loader(DataConfig(str(tmp_path)), "train", 1, range(1))
    one_sentence(raised.value, str(tmp_path))
    build_numbered(str(tmp_path), 3)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(StorageError, match="interrupted build") as raised:
        Loader(DataConfig(str(tmp_path)), "train", 1, range(1))
    one_sentence(raised.value, str(tmp_path))


def one_sentence(error: Exception, name: str) -> None:
    text = str(error)
    assert name in text
    assert "\n" not in text
    assert len(text) < 300


def test_a_dead_worker_is_an_error_not_a_hang(url: str) -> None:
    with Loader(DataConfig(url, workers=2, start_method="fork"), "train", BATCH, range(BATCH)) as loader:
        batches = iter(loader)
        next(batches)
        victim = multiprocessing.active_children()[0]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match=r"loader process|DataLoader worker"):
            for _ in islice(batches, 100):
                pass


def test_close_ends_the_workers(url: str) -> None:
    loader = Loader(DataConfig(url, workers=2, start_method="fork"), "train", BATCH, range(BATCH))
    next(iter(loader))
    children = multiprocessing.active_children()
    assert len(children) == 2
    loader.close()
    assert not any(child.is_alive() for child in children)
    assert threads_of("reader") == 0


TRAINING = """
import itertools, multiprocessing, sys, time
from data_shards.loader import DataConfig, Loader
if __name__ == "__main__":
    loader = Loader(DataConfig(sys.argv[1], workers=2, start_method=sys.argv[2]), "train", 8, range(8))
    next(iter(loader))
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("start_method", ["fork", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_workers_end_when_training_is_killed(url: str, tmp_path: Path, start_method: str) -> None:
    (tmp_path / "training.py").write_text(TRAINING)
    command = [sys.executable, str(tmp_path / "training.py"), url, start_method]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    training = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert training.stdout is not None
        pids = [int(pid) for pid in training.stdout.readline().split()]
        assert len(pids) == 2
    finally:
        training.kill()
        training.communicate()
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and not zombie(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() and not zombie(pid) for pid in pids)


def zombie(pid: int) -> bool:
    """Dead, and waiting for an init process that the container may lack."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def threads_of(name: str) -> int:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        alive = sum(thread.name == name for thread in threading.enumerate())
        if not alive:
            break
        time.sleep(0.01)
    return alive


def test_workers_beyond_the_slots_are_not_started(url: str) -> None:
    with Loader(DataConfig(url, workers=3, start_method="fork"), "train", BATCH, range(2)) as loader:
        batches: Iterator[Batch] = iter(loader)
        assert len(next(batches).keys) == 2
        assert len(multiprocessing.active_children()) == 2


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"url": "pipe:rm -rf x"}, "url"),
        ({"url": "gs://b/x"}, "url"),
        ({"workers": -1}, "workers"),
        ({"streams": 0}, "streams"),
        ({"block": 0}, "block"),
        ({"ahead": 0}, "ahead"),
        ({"threads": 0}, "threads"),
        ({"extent_bytes": 0}, "extent_bytes"),
        ({"deadline": -1.0}, "deadline"),
        ({"damage": "skip"}, "damage"),
        ({"start_method": "thread"}, "start_method"),
    ],
)
def test_bad_configs_are_named(bad: dict[str, object], word: str) -> None:
    arguments: dict[str, Any] = {"url": "x"} | bad
    with pytest.raises(ValueError, match=word):
        DataConfig(**arguments)


def test_bad_arguments_are_named(url: str) -> None:
    config = DataConfig(url)
    with pytest.raises(ValueError, match="test"):
        Loader(config, "test", 4, range(4))
    with pytest.raises(ValueError, match="slots"):
        Loader(config, "train", 4, range(2, 6))
    with pytest.raises(ValueError, match="start_step"):
        Loader(config, "train", 4, range(4), start_step=-1)
    with pytest.raises(ValueError, match="visible_ids"):
        Loader(config, "train", 4, range(4), fields=("visible_ids",))
    with pytest.raises(ValueError, match="rank"):
        next(scan(config, "val", 4, 2, 2))
