"""Forged checkpoints and sets whose hashes are right: files that would run code, and what is not as it says."""

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_shards.manifest import MANIFEST as SET
from data_shards.manifest import Index
from tests.clips import build_numbered
from trainer.checkpoints.checkpoint import MANIFEST

Change = Callable[[int, str, dict[str, bytes]], tuple[str, dict[str, bytes]]]


class Exploit:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def forged(mark: Path) -> bytes:
    """A file of torch.save that makes the folder `mark`, if it is allowed to."""
    path = mark.with_suffix(".pt")
    torch.save({"module": {"weight": torch.zeros(1)}, "x": Exploit(mark)}, path)
    data = path.read_bytes()
    path.unlink()
    return data


def replace_file(folder: Path, ending: str, data: bytes) -> Path:
    """Put `data` in place of a file of the checkpoint in `folder`, and let the manifest know; returns its path."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest.pop("sum", None)
    name = next(name for name in manifest["files"] if name.endswith(ending))
    (folder / name).write_bytes(data)
    manifest["files"][name] = [len(data), hashlib.sha256(data).hexdigest()]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder / name


def forge_set(folder: Path, change: Change, size: int = 8, channels: int = 1) -> str:
    """A set of one shard, whose keys and members went through `change` and whose hashes agree; the shard's name."""
    (shard,) = build_numbered(str(folder), 3, shard_bytes=1 << 20, size=size, channels=channels).splits[
        "train"
    ]
    index = Index.from_bytes((folder / shard.index).read_bytes(), shard)
    packed, buffer = (folder / shard.name).read_bytes(), io.BytesIO()
    keys: list[str] = []
    rows: list[list[tuple[int, int, int]]] = []
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, key in enumerate(index.keys.tolist()):
            places = zip(
                index.members, index.offsets[number].tolist(), index.sizes[number].tolist(), strict=True
            )
            key, members = change(number, key, {name: packed[at : at + size] for name, at, size in places})
            keys.append(key)
            rows.append([])
            for name, data in members.items():
                info = tarfile.TarInfo(f"{key}.{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
                rows[-1].append((tar.offset - -(-len(data) // 512) * 512, len(data), zlib.crc32(data)))
    table = np.array(rows, np.int64)
    columns = table[:, :, 0], table[:, :, 1], table[:, :, 2].astype(np.uint32)
    forged = Index(np.array(keys), index.members, *columns).to_bytes()
    (folder / shard.name).write_bytes(buffer.getvalue())
    replace_index(folder, forged)
    return shard.name


def replace_index(folder: Path, index: bytes) -> None:
    """Put `index` in place of that of the one shard of the set in `folder`, and let the manifest know of both files."""
    tree = json.loads((folder / SET).read_text())
    (row,) = tree["splits"]["train"]
    (folder / row["index"]).write_bytes(index)
    shard = (folder / row["name"]).read_bytes()
    digests = {"sha256": hashlib.sha256(shard), "index_sha256": hashlib.sha256(index)}
    row |= {"bytes": len(shard)} | {name: digest.hexdigest() for name, digest in digests.items()}
    (folder / SET).write_text(json.dumps(tree))
