"""The same batches for any ranks, workers and start, each byte read once."""

import random
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest

from data_shards.clip import Batch
from data_shards.loader import DataConfig, Loader, scan
from data_shards.manifest import Index, read_manifest
from data_shards.reader import Reader
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
        index = Index.from_bytes(Path(url, shard.index).read_bytes(), shard)
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
