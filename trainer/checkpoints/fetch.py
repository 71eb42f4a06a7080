"""fetched(): the files of the newest sound checkpoint, on every machine of a run.

One that is not what was saved, in any of its files, is told and left as it is, and the next older one is taken.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from data_shards.mistake import UserError
from data_shards.scratch import scratch_path, sweep
from data_shards.storage.store import NotFound, StorageError, Store
from trainer.checkpoints.checkpoint import Checkpoint, download, read_checkpoint, steps_on, weights_name
from trainer.checkpoints.seal import Damaged
from trainer.checkpoints.state_files import read_state, read_weights
from trainer.checkpoints.universal import convert
from trainer.config import RunConfig
from trainer.engine import TAG, state_types
from trainer.process_group import ProcessGroup

UNIVERSAL = f"{TAG}_universal"  # as DeepSpeed calls what its converter makes

Refusal = UserError | StorageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """A checkpoint whose files are here.

    Attributes:
        checkpoint: its manifest.
        folder: where its files are, of all ranks of this machine.
        universal: whether they were converted for another number of ranks.
        owned: whether this rank is the one of its machine that deletes them.
    """

    checkpoint: Checkpoint
    folder: Path
    universal: bool
    owned: bool

    def delete(self) -> None:
        """Delete the files, on the rank whose they are."""
        if self.owned:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def fetched(store: Store, config: RunConfig, group: ProcessGroup) -> Iterator[Fetched | None]:
    """The newest sound checkpoint of a run, its files here within the context; None = it has none. A collective.

    Raises:
        UserError: it was saved with another ZeRO stage (DeepSpeed cannot convert between stages) or optimiser (its
            state would be read as another's), or by a later version.
        Damaged: no checkpoint is sound; the newest is named.
        StorageError: the store does not give it, or DeepSpeed cannot convert it.
    """
    steps, refusal = list[int](), None
    try:
        steps = steps_on(store) if group.rank == 0 else []
    except (UserError, StorageError) as error:
        refusal = error
    if told := _agreed(refusal, group):
        raise told
    steps = json.loads(group.same(json.dumps(steps)))
    if not steps:
        yield None
        return
    folder = _folder(group)
    try:
        yield _newest(store, steps, folder, config, group)
    finally:
        if group.local_rank == 0:
            shutil.rmtree(folder, ignore_errors=True)


def _newest(
    store: Store, steps: list[int], folder: Path, config: RunConfig, group: ProcessGroup
) -> Fetched | None:
    passed: list[Refusal] = []
    for step in reversed(steps):
        found, refusal = None, None
        try:
            found = _fetch(store, step, folder, config, group)
        except (UserError, StorageError) as error:
            refusal = error
        told = _agreed(refusal, group)
        if told is None and found is not None:
            for each in passed if group.rank == 0 else ():
                words = each.found if isinstance(each, Damaged) else str(each)
                log.warning("%s; it is left as it is, and the run goes on from step %d", words, step)
            return found
        if told is None or not isinstance(told, Damaged | NotFound):
            raise told or AssertionError("neither files nor a reason")
        passed.append(told)
    if isinstance(passed[0], NotFound):  # all were deleted meanwhile
        return None
    raise passed[0]


def _fetch(store: Store, step: int, folder: Path, config: RunConfig, group: ProcessGroup) -> Fetched:
    """One checkpoint; one download a machine, where the others find it."""
    checkpoint = read_checkpoint(store, step)
    _require_same_engine(store, checkpoint, config)
    universal = checkpoint.zero_stage > 0 and checkpoint.world != group.world
    if group.local_rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        # All of them, before one is read: what was damaged anywhere makes no tensor.
        paths = {name: download(store, checkpoint, name, folder) for name in checkpoint.files}
        read_weights(store, checkpoint, weights_name(checkpoint), paths[weights_name(checkpoint)])
        _gather_state(store, checkpoint, paths, folder)
        if universal:
            convert(folder / TAG, folder / UNIVERSAL, f"{store.url}/{checkpoint.folder}")
    return Fetched(checkpoint, folder, universal, group.local_rank == 0)


def _require_same_engine(store: Store, checkpoint: Checkpoint, config: RunConfig) -> None:
    for field_name, saved, given in (
        ("engine.zero_stage", checkpoint.zero_stage, config.engine.zero_stage),
        ("optim.name", checkpoint.config["optim"]["name"], config.optim.name),
    ):
        if given != saved:
            raise UserError(
                f"field {field_name}: got {given}, but {store.url}/{checkpoint.folder} was saved with {saved}; resume "
                f"with that or start in another output"
            )


def _agreed(refusal: Refusal | None, group: ProcessGroup) -> Refusal | None:
    """The refusal of the first rank that has one, on all ranks. A collective."""
    refused = group.gather(torch.tensor([refusal is not None]).double())[:, 0]
    if not bool(refused.any()):
        return None
    kinds = (UserError, Damaged, NotFound, StorageError)
    kind = next((k for k in kinds if isinstance(refusal, k)), StorageError)
    words = [] if refusal is None else [kinds.index(kind), *refusal.args]
    number, *words = json.loads(group.same(json.dumps(words), int(refused.argmax())))
    return kinds[number](*words)


def _folder(group: ProcessGroup) -> Path:
    """A folder of the first rank of this machine, the same on all of its ranks, which follow each other."""
    if group.local_rank == 0:
        sweep()
    local_ranks = group.gather(torch.tensor([group.local_rank]).double())[:, 0].tolist()
    first = [rank for rank, local_rank in enumerate(local_ranks) if local_rank == 0]
    paths = {rank: group.same(str(scratch_path("resume")), rank) for rank in first}
    return Path(paths[max((rank for rank in first if rank <= group.rank), default=first[0])])


def _gather_state(store: Store, checkpoint: Checkpoint, paths: dict[str, Path], root: Path) -> None:
    """All ranks' DeepSpeed files of a checkpoint, merged into root/TAG."""
    (root / TAG).mkdir(parents=True)
    for name, path in paths.items():
        if f"/state/{TAG}/" in name:
            read_state(store, checkpoint, name, path, *state_types())
            shutil.move(path, root / TAG / path.name)
