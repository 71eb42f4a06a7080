"""Samples become a Batch: decoded straight into its arrays, objects padded to the largest number of the set."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_shards.clip import Batch
from data_shards.encoding import FIELDS, OBJECT_AXIS, DecodeError, decode_member
from data_shards.manifest import Manifest
from data_shards.reader import DamagedSample, Reader


def known_fields(manifest: Manifest, fields: tuple[str, ...] | None, url: str) -> tuple[str, ...]:
    """The fields to decode, frames first; None = all that the set has.

    Raises:
        ValueError: a field that the set has not.
    """
    if fields is None:
        return manifest.fields
    if missing := [name for name in fields if name not in manifest.fields]:
        raise ValueError(f"fields {', '.join(missing)}: {url} has only {', '.join(manifest.fields)}")
    return tuple(name for name in FIELDS if name in {"frames", *fields})


def shapes(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """The shape of each field of a clip with as many objects as any has."""
    t, h, w, c = manifest.shape
    n = manifest.objects
    return {
        "frames": (t, h, w, c),
        "visible_ids": (t, h, w),
        "amodal_masks": (t, n, h, w),
        "depth_ranks": (n,),
        "centres": (t, n, 2),
        "velocities": (t, n, 2),
        "colours": (n, c),
        "labels": (t, h, w),
    }


def fits(field: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether an array of a clip has the shape that the manifest says; its objects may be fewer."""
    axis = OBJECT_AXIS.get(field)
    return len(shape) == len(wanted) and all(
        a == b or (place == axis and a < b) for place, (a, b) in enumerate(zip(shape, wanted, strict=True))
    )


@dataclass
class Assembly:
    """Makes batches of the samples of one split.

    Args:
        reader: of the split's shards; must want the members of `fields`.
        manifest: of the set.
        fields: to decode, of `known_fields`.
        damage: of a sample: "error", or "replace" by the next whole sample of its shard, so that a batch keeps its
            size and every rank and every run gets the same. A damaged shard is always an error.
    """

    reader: Reader
    manifest: Manifest
    fields: tuple[str, ...]
    damage: str = "error"
    damaged_samples: int = 0

    def batch(self, shards: Iterable[int], samples: Iterable[int]) -> Batch:
        """The batch of these samples, in this order."""
        places = list(zip(shards, samples, strict=True))
        arrays = self._empty(len(places))
        keys = [self._place(arrays, row, shard, sample) for row, (shard, sample) in enumerate(places)]
        return Batch(keys, **arrays)

    def _empty(self, size: int) -> dict[str, Any]:
        wanted = shapes(self.manifest)
        arrays: dict[str, Any] = {name: np.empty((size, *wanted[name]), FIELDS[name]) for name in self.fields}
        if any(name in OBJECT_AXIS for name in self.fields):
            arrays["present"] = np.zeros((size, self.manifest.objects), np.int32)
        return arrays

    def _place(self, arrays: dict[str, Any], row: int, shard: int, sample: int) -> str:
        """Decode a sample, or the next whole one of its shard, into `row`; returns its key."""
        count = self.reader.shards[shard].samples
        for shift in range(count):
            try:
                key = self._decode(arrays, row, shard, (sample + shift) % count)
            except DamagedSample:
                if self.damage == "error" or shift == count - 1:
                    raise
            else:
                self.damaged_samples += bool(shift)
                return key
        raise AssertionError("a shard has samples")

    def _decode(self, arrays: dict[str, Any], row: int, shard: int, sample: int) -> str:
        found = self.reader.sample(shard, sample)
        for name, data in found.members.items():
            try:
                field, value = decode_member(name, data)
                target = arrays[field]
                if not fits(field, value.shape, target.shape[1:]):
                    raise DecodeError(
                        f"{name}: has shape {value.shape}, the manifest says {target.shape[1:]}"
                    )
                if field not in OBJECT_AXIS:
                    target[row] = value
                    continue
                objects = value.shape[OBJECT_AXIS[field]]
                # Zeros behind the objects: a damaged sample may have been here before.
                if OBJECT_AXIS[field] == 0:
                    target[row, :objects], target[row, objects:] = value, 0
                else:
                    target[row, :, :objects], target[row, :, objects:] = value, 0
                arrays["present"][row] = np.arange(self.manifest.objects) < objects
            except DecodeError as error:
                address = self.reader.store.address(self.reader.shards[shard].name)
                raise DamagedSample(address, f"sample {found.key}: {error}") from error
        return found.key
