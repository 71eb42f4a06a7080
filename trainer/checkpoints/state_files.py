"""Files of state from storage: tensors and plain values are read from them, and no code is run.

A file of torch.save is a pickle, and a pickle names what is to be called to make its objects. Whoever can write to a
run's store could have commands run by all who resume from it. torch's weights-only loader makes tensors, containers
and plain values alone, and objects of the few types that it is given; the hashes of a manifest do not matter here, for
whoever forges a file can forge them too.
"""

import os
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_shards.storage.store import Store
from trainer.checkpoints.checkpoint import Checkpoint, damaged

_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_NEVER = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"  # torch refuses the two together
_NAMED = re.compile(r"GLOBAL (\S+)")  # in the loader's refusal: what the file wanted to call


@contextmanager
def no_code(*types: type) -> Iterator[None]:
    """Within, every torch.load of this process runs no code, also that of a library which asks for weights_only=False.

    Args:
        types: what may be made besides tensors, containers and plain values.
    """
    before = {name: os.environ.get(name) for name in (_FORCE, _NEVER)}
    os.environ[_FORCE] = "1"
    os.environ.pop(_NEVER, None)
    try:
        with torch.serialization.safe_globals(list(types)):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def read_state(store: Store, checkpoint: Checkpoint, name: str, path: Path, *types: type) -> Any:
    """What the file `name` of a checkpoint, downloaded to `path`, holds; tensors stay on disk until they are used.

    Raises:
        StorageError: it is forged, damaged, or another kind of file.
    """
    try:
        _require_plain(path)
        with no_code(*types), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch finds odd in a file that it then refuses
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        _require_real(state, path.stat().st_size)
    except Exception as error:  # a forged pickle fails in any way
        raise damaged(store, checkpoint.folder, name, _reason(error)) from error
    return state


def read_weights(store: Store, checkpoint: Checkpoint, name: str, path: Path) -> Mapping[str, Tensor]:
    """`read_state` of a file that holds weights by name and nothing else."""
    weights = read_state(store, checkpoint, name, path)
    plain = isinstance(weights, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()
    )
    if not plain:
        raise damaged(store, checkpoint.folder, name, "holds something else than weights by name")
    return dict(weights)


def _reason(error: Exception) -> str:
    if named := _NAMED.search(str(error)):
        return f"is forged or foreign: it names {named[1]}, which no state needs, and nothing of it was run"
    if isinstance(error, MemoryError | _Inflated):
        return "is forged: it asks for more memory than it has content"
    return "is damaged, or no file of state that this version reads"


class _Inflated(Exception):
    """More is to be made of a file than is in it."""


def _require_plain(path: Path) -> None:
    """torch.save compresses nothing; what does may become anything."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise _Inflated
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise _Inflated


def _require_real(state: Any, size: int) -> None:
    """Every element of every tensor has bytes of its own, of the `size` of the file.

    Of a single one, repeated, a copy could be made; and the loader makes some values, however large, from a number.
    """
    left, seen, storages = [state], set(), dict[int, int]()
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            if value.layout is not torch.strided or value.device.type != "cpu":
                raise ValueError("not a plain tensor")
            storage = value.untyped_storage()
            if value.numel() * value.element_size() > storage.nbytes():
                raise _Inflated
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, bytes | bytearray | str):
            storages[id(value)] = len(value)
        elif isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            left += value
        elif hasattr(value, "__dict__"):
            left += vars(value).values()
    if sum(storages.values()) > size:
        raise _Inflated
