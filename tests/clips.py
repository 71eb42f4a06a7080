"""A small source of clips for tests: random frames that say which clip they belong to, optional truth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from data_shards.clip import Clip, num_objects
from data_shards.manifest import Manifest
from data_shards.writer import build


@dataclass(frozen=True)
class Numbered:
    """Clips of 3 random frames; clip `i` has i % 3 + 1 objects (1 without `truth`)."""

    size: int = 8
    channels: int = 1
    truth: bool = False
    video_encoding: str = "lossless"

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        for index in range(count):
            yield self.clip(split, index, seed)

    def clip(self, split: str, index: int, seed: int) -> Clip:
        rng = np.random.default_rng([*split.encode(), index, seed])
        n, s = index % 3 + 1, self.size
        frames = rng.integers(0, 256, (3, s, s, self.channels), np.uint8)
        facts = {"index": index, "name": f"{split} {index}"}
        key = f"{split}-{index:05d}"
        if not self.truth:
            return Clip(key, frames, facts=facts)
        return Clip(
            key,
            frames,
            visible_ids=rng.integers(0, n + 1, (3, s, s)).astype(np.uint8),
            amodal_masks=rng.integers(1, 256, (3, n, s, s), np.uint8),
            depth_ranks=rng.permutation(n).astype(np.int32),
            centres=rng.random((3, n, 2), np.float32) + 1,
            velocities=rng.random((3, n, 2), np.float32) + 1,
            colours=rng.random((n, self.channels), np.float32) + 1,
            facts=facts,
        )


def build_numbered(
    url: str,
    train: int = 100,
    val: int = 0,
    *,
    shard_bytes: int = 20_000,
    seed: int = 0,
    **parameters: object,
) -> Manifest:
    """A data set of Numbered clips; 20 kB make a shard of some ten clips."""
    source = Numbered(**parameters)  # type: ignore[arg-type]
    return build("numbered", source, url, {"train": train, "val": val}, seed, shard_bytes)


def sizes_of(clip: Clip) -> dict[str, int]:
    """Of the axes of a clip, as the manifest of a set of it alone would say."""
    return dict(zip("thwc", clip.frames.shape, strict=True)) | {"n": num_objects(clip)}
