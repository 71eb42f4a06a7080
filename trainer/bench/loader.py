"""python -m trainer bench loader: clips per second of the Loader next to plain webdataset, on the same shards.

Both read with the same number of processes, decode the frames with the same decoder and stack batches into arrays.
webdataset shuffles shards and a buffer; the Loader keeps its exact order. They take turns, so that a busy machine
slows both.
"""

import json
import os
import statistics
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import s3fs
import torch
import webdataset

from data_shards.commands import given_path, given_place
from data_shards.encoding import Sizes, decode_member
from data_shards.loader import DataConfig, Loader
from data_shards.manifest import MANIFEST, Manifest, read_manifest
from data_shards.sources import SOURCES
from data_shards.storage.place import check_url, open_store
from data_shards.writer import build
from trainer.arguments import add_count

BUFFER = 1000  # samples that webdataset shuffles, as in its documentation; the Loader mixes 64 * 16


@dataclass(frozen=True)
class Row:
    """One store and number of processes; clips per second are medians over the rounds, the ratio too."""

    store: str
    workers: int
    webdataset: float
    loader: float
    ratio: float
    worst_ratio: float


def options(parser: ArgumentParser) -> None:
    """Which stores, how many processes and how long."""
    parser.add_argument(
        "--data",
        type=given_place,
        metavar="URL",
        help="a set of files; by default the paper's sprites are built",
    )
    parser.add_argument(
        "--s3",
        type=given_place,
        metavar="URL",
        help="measure here as well, s3://bucket/prefix; built if there is none; not by default",
    )
    add_count(parser, "--clips", 2000, "of a set that is built")
    add_count(parser, "--batch", 32, "clips a batch")
    add_count(parser, "--steps", 100, "batches of a round")
    add_count(parser, "--rounds", 5, "measured rounds")
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        default=[0, 2],
        metavar="N",
        help="loader processes, one measurement each; %(default)s by default",
    )
    parser.add_argument(
        "--json", type=given_path, metavar="FILE", help="write the rows there too; not by default"
    )


def run(given: Namespace) -> int:
    """Print the table; --json writes it too."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        urls = [given.data or folder, *([given.s3] if given.s3 else [])]
        rows = []
        for url in urls:
            manifest = read_manifest(url) if url == given.data else _prepared(url, given.clips)
            for workers in given.workers:
                rows.append(measure(url, manifest, given.batch, given.steps, given.rounds, workers))
                print(_line(rows[-1]) if len(rows) > 1 else f"{HEADER}\n{_line(rows[-1])}", flush=True)
    if not given.s3:
        print("no object store was measured: give --s3 s3://bucket/prefix, with its AWS_* variables set")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 0


HEADER = f"{'store':8} {'workers':>7} {'webdataset':>11} {'loader':>11} {'ratio':>6} {'worst':>6}   clips/s"


def _line(row: Row) -> str:
    rates = f"{row.webdataset:11.0f} {row.loader:11.0f} {row.ratio:6.2f} {row.worst_ratio:6.2f}"
    return f"{row.store:8} {row.workers:7} {rates}"


def _prepared(url: str, clips: int) -> Manifest:
    """The set at `url`; the paper's sprites are built where there is none."""
    if open_store(url).exists(MANIFEST):
        return read_manifest(url)
    return build("sprites", SOURCES["sprites"](), url, {"train": clips}, seed=0, shard_bytes=8 << 20)


def measure(url: str, manifest: Manifest, batch: int, steps: int, rounds: int, workers: int) -> Row:
    """Both readers in turns, `rounds` times `steps` batches each, after a warm-up of one round."""
    config = DataConfig(url, workers=workers)
    with Loader(config, "train", batch, range(batch)) as loader:
        peers = {"webdataset": plain_webdataset(url, manifest, batch, workers), "loader": iter(loader)}
        rates: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(rounds + 1):
            for name, batches in peers.items():
                started = time.perf_counter()
                clips = sum(1 for _ in islice(batches, steps)) * batch
                rates[name].append(clips / (time.perf_counter() - started))
    ratios = [
        ours / theirs for ours, theirs in zip(rates["loader"][1:], rates["webdataset"][1:], strict=True)
    ]
    return Row(
        "s3" if check_url(url)[0] else "files",
        workers,
        webdataset=statistics.median(rates["webdataset"][1:]),
        loader=statistics.median(rates["loader"][1:]),
        ratio=statistics.median(ratios),
        worst_ratio=min(ratios),
    )


def plain_webdataset(url: str, manifest: Manifest, batch: int, workers: int) -> Iterator[Any]:
    """Endless batches (keys, frames) as webdataset's own pipeline makes them."""
    webdataset.gopen_schemes["s3"] = _open_s3
    bucket, path = check_url(url)
    root = url if bucket else str(Path(path))
    names = [f"{root}/{shard.name}" for shard in manifest.splits["train"]]
    dataset = (
        webdataset.WebDataset(names, shardshuffle=len(names), empty_check=False)
        .shuffle(BUFFER)
        .map(partial(_decode, sizes=manifest.sizes))
        .batched(batch, partial=False, collation_fn=_stack)
        .repeat()
    )
    # A shard is read by one process: more of them than shards have nothing to do.
    return iter(torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=min(workers, len(names))))


def _decode(sample: dict[str, Any], sizes: Sizes) -> tuple[str, Any]:
    name = "frames.npy.zst" if "frames.npy.zst" in sample else "frames.mp4"
    return sample["__key__"], decode_member(name, sample[name], sizes)[1]


def _stack(samples: list[tuple[str, Any]]) -> tuple[list[str], np.ndarray[Any, np.dtype[Any]]]:
    return [key for key, _ in samples], np.stack([frames for _, frames in samples])


def _open_s3(url: str, mode: str = "rb", bufsize: int = 8192, **_: object) -> Any:
    block = 16 << 20  # the fastest of the sizes tried
    return _filesystem(os.getpid()).open(url, mode, block_size=block)


@cache  # all are kept: a forked process that dropped its parent's would try to close it
def _filesystem(process: int) -> Any:
    return s3fs.S3FileSystem(skip_instance_cache=True)  # does not survive a fork
