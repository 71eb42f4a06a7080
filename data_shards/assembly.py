"""Samples become a Batch: decoded straight into its arrays, objects padded to the largest number of the set."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_shards.clip import BATCH_FIELDS, FIELDS, Array, Batch
from data_shards.encoding import DecodeError, decode_member
from data_shards.manifest import Manifest
from data_shards.mistake import UserError
from data_shards.reader import DamagedSample, Reader, ShardError


def known_fields(manifest: Manifest, fields: tuple[str, ...] | None, url: str) -> tuple[str, ...]:
    """The fields to decode, frames first; None = all that the set has.

    Raises:
        UserError: a field that the set has not.
    """
    if fields is None:
        return manifest.fields
    if missing := [name for name in fields if name not in manifest.fields]:
        raise UserError(f"fields {', '.join(missing)}: {url} has only {', '.join(manifest.fields)}")
    return tuple(name for name in FIELDS if name in {"frames", *fields})


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

    def __post_init__(self) -> None:
        self._sizes = self.manifest.sizes

    def batch(self, shards: Iterable[int], samples: Iterable[int]) -> Batch:
        """The batch of these samples, in this order."""
        places = list(zip(shards, samples, strict=True))
        arrays = self._empty(len(places))
        keys = [self._place(arrays, row, shard, sample) for row, (shard, sample) in enumerate(places)]
        return Batch(keys, **arrays)

    def _empty(self, size: int) -> dict[str, Any]:
        objects = any(FIELDS[name].axis("n") is not None for name in self.fields)
        names = (*self.fields, "present") if objects else self.fields
        return {
            name: np.empty((size, *field.shape(self.manifest.sizes)), field.dtype)
            for name, field in ((name, BATCH_FIELDS[name]) for name in names)
        }

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
        for member, data in found.members.items():
            try:
                name, value = decode_member(member, data, self._sizes)
                self._fill(arrays, row, name, value)
            except DecodeError as error:
                address = self.reader.store.address(self.reader.shards[shard].name)
                raise DamagedSample(address, f"sample {found.key}: {error}") from error
        if len(found.members) != len(self.fields):  # a member that is not there leaves what was in memory
            address = self.reader.store.address(self.reader.shards[shard].name)
            told = f"has {', '.join(found.members)}, one each of {', '.join(self.fields)} is needed"
            raise ShardError(address, f"sample {found.key}: {told}")
        return found.key

    def _fill(self, arrays: dict[str, Any], row: int, name: str, value: Array) -> None:
        """Put one field of a clip into `row`, with zeros behind its objects: a damaged sample may have been there."""
        axis, target = FIELDS[name].axis("n"), arrays[name][row]
        if axis is None:
            target[:] = value
            return
        objects, before = value.shape[axis], (slice(None),) * axis
        target[(*before, slice(objects))] = value
        target[(*before, slice(objects, None))] = 0
        arrays["present"][row] = np.arange(self.manifest.objects) < objects
