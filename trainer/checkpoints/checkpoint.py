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
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter

from data_shards.mistake import UserError
from data_shards.storage.place import open_store
from data_shards.storage.store import NotFound, StorageError, Store
from trainer.checkpoints.seal import Damaged, read_sealed

T = TypeVar("T")

FOLDER = "checkpoints"

MANIFEST = "checkpoint.json"

SCHEMA = 1  # of the manifest; 0 = written before it had a number, and no different otherwise

REMEDY = "delete {} to go on from an earlier checkpoint"

CONFIG = "config.json"  # of a run: what its latest start was given

# Below a step's folder, and below any other that it is downloaded to.
_Name = Annotated[str, Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$", max_length=1000)]
_Size = Annotated[int, Field(ge=0)]

_STEP = re.compile(rf"{FOLDER}/step-(\d{{8}}|[1-9]\d{{8,}})/")


@dataclass(frozen=True)
class Checkpoint:
    """The manifest of a complete checkpoint. `files` maps names below its step folder to [size, sha256]."""

    step: Annotated[int, Field(ge=0)]
    world: Annotated[int, Field(ge=1)]
    zero_stage: Annotated[int, Field(ge=0, le=3)]
    attempt: str
    config: dict[str, Any]
    digest: str
    revision: str
    progress: dict[str, Any]  # what the run's clock carries over: Timeline.saved()
    data: str = ""  # the clips trained on: Manifest.digest("train"); "" = saved before the order of today
    files: dict[_Name, tuple[_Size, str]] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def folder(self) -> str:
        """Where it lies below the run."""
        return f"{FOLDER}/step-{self.step:08d}"

    @property
    def weights(self) -> str:
        """Twelve hexadecimal digits of the weights' hash: a run that went back may save others at the same step."""
        return self.files[weights_name(self)][1][:12]


_MANIFEST = TypeAdapter(Checkpoint)
_FIELDS = {each.name for each in fields(Checkpoint)}
_SUM = re.compile(rb', "sum": "([0-9a-f]{64})"}$')


def manifest_text(checkpoint: Checkpoint) -> bytes:
    """What checkpoint.json holds: its fields, and last the hash of all before: a flipped byte may leave sound JSON."""
    data = json.dumps(asdict(checkpoint)).encode()
    return data[:-1] + b', "sum": "%s"}' % hashlib.sha256(data).hexdigest().encode()


def _unsummed(data: bytes) -> bytes:
    """The fields alone, as they were saved; ValueError where they are not. Once they were saved without a sum."""
    if not (found := _SUM.search(data)):
        return data
    whole = data[: found.start()] + b"}"
    if hashlib.sha256(whole).hexdigest().encode() != found[1]:
        raise ValueError("another sum")
    return whole


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
        NotFound: it is absent.
        Damaged: it is not what was saved, or not sealed where there is a key.
        UserError: a later version of this code wrote it, in a schema that this one does not know.
    """
    folder = f"{FOLDER}/step-{step:08d}"
    data = read_sealed(store, f"{folder}/{MANIFEST}")
    try:
        tree = {"schema": 0} | json.loads(_unsummed(data))
        if tree.keys() - _FIELDS and tree["schema"] <= SCHEMA:
            raise ValueError("what no manifest has")
        if tree["schema"] <= SCHEMA:
            found: Checkpoint = _MANIFEST.validate_json(json.dumps(tree), strict=True)
            _require_whole(found, step)
            return found
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(store, folder, MANIFEST, "is no manifest of a checkpoint") from error
    raise UserError(
        f"{store.address(f'{folder}/{MANIFEST}')}: is of schema {tree['schema']}, saved by a later version (revision "
        f"{tree.get('revision')}), and this one reads up to {SCHEMA}; use that version, or start in another output"
    )


def _require_whole(found: Checkpoint, step: int) -> None:
    """ValueError unless it is of `step` and has what is read of every checkpoint."""
    groups = ("model", "data", "batch", "optim", "engine")
    if found.step != step or not all(isinstance(found.config.get(name), dict) for name in groups):
        raise ValueError("another step, or no config")
    url = found.config["data"].get("url")
    if (
        not {"seed", "steps"} <= found.config.keys()
        or "name" not in found.config["optim"]
        or type(url) is not str
    ):
        raise ValueError("a config of something else")
    weights_name(found)


def newest(store: Store) -> Checkpoint | None:
    """The newest complete checkpoint of a run whose manifest is sound, or None where there is none at all.

    Raises:
        Damaged: there are some, and no manifest is sound; the newest is named.
    """
    first: StorageError | None = None
    for step in reversed(steps_on(store)):
        try:
            return read_checkpoint(store, step)
        except (Damaged, NotFound) as error:
            first = first or error
    if isinstance(first, Damaged):
        raise first
    return None


def run_of(url: str) -> str:
    """The URL of a run, from it or from that of one of its checkpoints; folders above it may be called checkpoints."""
    run, found, tail = url.rstrip("/").rpartition(f"/{FOLDER}/step-")
    return run if found and "/" not in tail else url.rstrip("/")


def of_checkpoint(url: str, read: Callable[[Store, int], T]) -> T:
    """What `read` makes of the store of a run and the step that `url` names; again where that was deleted meanwhile.

    Raises:
        UserError: there is no complete checkpoint at `url`, or not any more.
        StorageError: what `read` raises, where the checkpoint is still there.
    """
    run = run_of(url)
    tail = url.rstrip("/")[len(run) :].removeprefix(f"/{FOLDER}/step-")
    store = open_store(run)
    while True:
        steps = steps_on(store)
        if not steps or (tail and (not tail.isdecimal() or int(tail) not in steps)):
            raise UserError(f"{url}: no complete checkpoint there; have steps {steps or 'none'}")
        step = int(tail) if tail else steps[-1]
        try:
            return read(store, step)
        except StorageError as error:
            left = steps_on(store)
            if step in left:
                raise
            if tail:
                reason = "was deleted while it was read, as a run does with all but its newest checkpoints"
                raise UserError(f"{url}: {reason}; have steps {left or 'none'}") from error


def download(store: Store, checkpoint: Checkpoint, name: str, folder: Path) -> Path:
    """One of its files, as `folder`/`name`.

    Raises:
        Damaged: it is not as the manifest says.
    """
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    size, sha = checkpoint.files[name]
    differs = damaged(
        store, checkpoint.folder, name, "is damaged: its size or hash differs from the manifest's"
    )
    try:
        if store.size(f"{checkpoint.folder}/{name}") != size:  # first, for it may be of any size
            raise differs
        data = store.read(f"{checkpoint.folder}/{name}")
    except NotFound as error:
        raise damaged(store, checkpoint.folder, name, "is missing") from error
    if hashlib.sha256(data).hexdigest() != sha:
        raise differs
    target.write_bytes(data)
    return target


def damaged(store: Store, folder: str, name: str, reason: str) -> Damaged:
    """What is told of the file `name` of the checkpoint in `folder`, with the remedy."""
    return Damaged(store.address(f"{folder}/{name}"), reason, REMEDY.format(store.address(folder)))


def weights_name(checkpoint: Checkpoint) -> str:
    """Which of its files has the weights of the whole model."""
    (name,) = [name for name in checkpoint.files if name.endswith(("weights.pt", ".safetensors"))]
    return name
