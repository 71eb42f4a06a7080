"""Damage is found, and named in a sentence, or replaced the same way on every rank."""

import time
from itertools import islice
from pathlib import Path

import pytest

from data_shards.loader import Counters, DataConfig, Loader
from data_shards.manifest import Index, read_manifest
from data_shards.reader import DamagedSample, ShardError
from data_shards.storage.store import StorageError
from tests.clips import build_numbered


def damage(url: str, shard: int, sample: int, byte: int = 20) -> str:
    """Flip a bit of a sample's frames, on disk; returns its key."""
    entry = read_manifest(url).splits["train"][shard]
    index = Index.from_bytes(Path(url, entry.index).read_bytes(), entry)
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
