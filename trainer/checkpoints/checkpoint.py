"""Checkpoints on file or object storage: complete or absent.

    <run>/checkpoints/step-00000040/<attempt>/rank-00000/...   what each rank wrote, DeepSpeed's own files
    <run>/checkpoints/step-00000040/<attempt>/rank-00000.json  names, sizes and hashes of them
    <run>/checkpoints/step-00000040/checkpoint.json            last, once all of it was verified on storage

A start looks at the storage for the newest checkpoint.json and believes nothing else. `attempt` is new at every
start of the run, so that a process that should be dead cannot mix its files into a later attempt's.

Whatever else lies below checkpoints/ is somebody else's: it is neither read nor deleted.

saver.py takes them, upload.py brings them to storage, restore.py goes on from one.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_shards.mistake import UserError
from data_shards.storage.store import NotFound, StorageError, Store
from trainer.config import RunConfig

FOLDER = "checkpoints"

MANIFEST = "checkpoint.json"

SCHEMA = 1  # of the manifest; 0 = written before it had a number, and no different otherwise

CONFIG = "config.json"  # of a run: what its latest start was given

_STEP = re.compile(rf"{FOLDER}/step-(\d{{8}}|[1-9]\d{{8,}})/")


@dataclass(frozen=True)
class Checkpoint:
    """The manifest of a complete checkpoint. `files` maps names below its step folder to [size, sha256]."""

    step: int
    world: int
    zero_stage: int
    attempt: str
    config: dict[str, Any]
    digest: str
    revision: str
    progress: dict[str, Any]  # what the run's clock carries over: Timeline.saved()
    data: str = ""  # the clips trained on: Manifest.digest("train"); "" = saved before the order of today
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def folder(self) -> str:
        """Where it lies below the run."""
        return f"{FOLDER}/step-{self.step:08d}"

    @property
    def weights(self) -> str:
        """Twelve hexadecimal digits of the weights' hash: a run that went back may save others at the same step."""
        return self.files[weights_name(self)][1][:12]


def put_config(store: Store, config: RunConfig, revision: str, attempt: str) -> None:
    """Write a run's config.json: what this start of it was given."""
    described = {
        "attempt": attempt,
        "revision": revision,
        "digest": config.digest(),
        "config": config.model_dump(mode="json"),
    }
    store.put(CONFIG, json.dumps(described, indent=2).encode())


def step_of(name: str) -> int | None:
    """The step of the checkpoint that an object of a run belongs to; None = it belongs to none."""
    found = _STEP.match(name)
    return int(found[1]) if found else None


def steps_on(store: Store) -> list[int]:
    """Steps of the complete checkpoints of a run, ascending."""
    names = store.list(f"{FOLDER}/")
    return sorted(int(found[1]) for n in names if (found := _STEP.match(n)) and n == f"{found[0]}{MANIFEST}")


def read_checkpoint(store: Store, step: int) -> Checkpoint:
    """The manifest of the complete checkpoint at `step`.

    Raises:
        StorageError: it is absent or damaged.
        UserError: a later version of this code wrote it, in a schema that this one does not know.
    """
    folder = f"{FOLDER}/step-{step:08d}"
    data = store.read(f"{folder}/{MANIFEST}")
    try:
        tree = {"schema": 0} | json.loads(data)
        if tree["schema"] <= SCHEMA:
            files = {name: (size, sha) for name, (size, sha) in tree["files"].items()}
            return Checkpoint(**tree | {"files": files})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(store, folder, MANIFEST, "is no manifest of a checkpoint") from error
    raise UserError(
        f"{store.address(f'{folder}/{MANIFEST}')}: is of schema {tree['schema']}, saved by a later version (revision "
        f"{tree.get('revision')}), and this one reads up to {SCHEMA}; use that version, or start in another output"
    )


def newest(store: Store) -> Checkpoint | None:
    """The newest complete checkpoint of a run, or None."""
    steps = steps_on(store)
    return read_checkpoint(store, steps[-1]) if steps else None


def run_of(url: str) -> str:
    """The URL of a run, from it or from that of one of its checkpoints; folders above it may be called checkpoints."""
    run, found, tail = url.rstrip("/").rpartition(f"/{FOLDER}/step-")
    return run if found and "/" not in tail else url.rstrip("/")


def download(store: Store, checkpoint: Checkpoint, name: str, folder: Path) -> Path:
    """One of its files, as `folder`/`name`.

    Raises:
        StorageError: it is not as the manifest says.
    """
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        data = store.read(f"{checkpoint.folder}/{name}")
    except NotFound as error:
        raise _damaged(store, checkpoint.folder, name, "is missing") from error
    size, sha = checkpoint.files[name]
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha:
        raise _damaged(
            store, checkpoint.folder, name, "is damaged: its size or hash differs from the manifest's"
        )
    target.write_bytes(data)
    return target


def _damaged(store: Store, folder: str, name: str, reason: str) -> StorageError:
    remedy = f"delete {store.address(folder)} to go on from an earlier checkpoint"
    return StorageError(store.address(f"{folder}/{name}"), f"{reason}; {remedy}")


def weights_name(checkpoint: Checkpoint) -> str:
    """Which of its files has the weights of the whole model."""
    return next(name for name in checkpoint.files if name.endswith("weights.pt"))
