"""restore(): an engine that goes on where a checkpoint left off, also on another number of ranks."""

import shutil
from pathlib import Path

import torch
import torch.distributed as dist

from data_shards.mistake import UserError
from data_shards.scratch import scratch_path, sweep
from data_shards.storage.store import StorageError, Store
from model.interface import VideoModel
from monitoring.run_state import Timeline
from trainer.checkpoints.checkpoint import MANIFEST, REMEDY, Checkpoint, damaged, download, weights_name
from trainer.checkpoints.state_files import read_state, read_weights
from trainer.checkpoints.universal import convert
from trainer.checkpoints.weights import differences, raise_everywhere, require_same_weights, shapes
from trainer.config import RunConfig
from trainer.engine import TAG, Engine, state_types
from trainer.process_group import ProcessGroup

UNIVERSAL = f"{TAG}_universal"  # as DeepSpeed calls what its converter makes

CURVE = ("model", "optim", "batch", "seed")  # what the losses to come depend on, besides the data


def restore(
    store: Store, checkpoint: Checkpoint, config: RunConfig, group: ProcessGroup, model: VideoModel
) -> Engine:
    """An engine with the checkpoint's weights and optimiser. A collective.

    On the same number of ranks DeepSpeed reads its own files, bit for bit. On another number, ZeRO 1-3 go through
    DeepSpeed's Universal Checkpoint, converted here; stage 0 holds everything on rank 0.

    Raises:
        UserError: the ZeRO stage differs (DeepSpeed cannot convert between stages), the optimiser (its state would be
            read as another's), or the names or shapes of the weights.
        StorageError: the checkpoint is damaged.
    """
    url = f"{store.url}/{checkpoint.folder}"
    for field_name, saved, given in (
        ("engine.zero_stage", checkpoint.zero_stage, config.engine.zero_stage),
        ("optim.name", checkpoint.config["optim"]["name"], config.optim.name),
    ):
        if given != saved:
            raise UserError(
                f"field {field_name}: got {given}, but {url} was saved with {saved}; resume with that or start in "
                f"another output"
            )
    root = _folder(group)
    universal = checkpoint.zero_stage > 0 and checkpoint.world != group.world
    refusal: StorageError | None = None
    try:
        # One download a machine; the others find it there.
        if group.local_rank == 0:
            try:
                download(store, checkpoint, weights_name(checkpoint), root)
                _download_state(store, checkpoint, root)
                if universal:
                    convert(root / TAG, root / UNIVERSAL, url)
            except StorageError as error:
                refusal = error
        raise_everywhere(refusal, group)
        group.barrier()
        name = weights_name(checkpoint)
        saved = shapes(read_weights(store, checkpoint, name, root / name))
        group.barrier()  # a refusal deletes what others may not have read yet
        require_same_weights(saved, model, checkpoint, config, url)
        engine = Engine(model, config, group, universal)
        _load(engine, root, UNIVERSAL if universal else TAG, url)
        group.barrier()
    finally:
        if group.local_rank == 0:
            shutil.rmtree(root, ignore_errors=True)
    return engine


def _folder(group: ProcessGroup) -> Path:
    """A folder of the first rank of this machine, the same on all of its ranks, which follow each other."""
    if group.local_rank == 0:
        sweep()
    local_ranks = group.gather(torch.tensor([group.local_rank]).double())[:, 0].tolist()
    first = [rank for rank, local_rank in enumerate(local_ranks) if local_rank == 0]
    paths = {rank: group.same(str(scratch_path("resume")), rank) for rank in first}
    path = Path(paths[max((rank for rank in first if rank <= group.rank), default=first[0])])
    if group.local_rank == 0:
        path.mkdir(mode=0o700)
    return path


def timeline_of(store: Store, checkpoint: Checkpoint) -> Timeline:
    """Where the run's time went up to `checkpoint`; StorageError where that is damaged."""
    try:
        return Timeline.resumed(checkpoint.progress)
    except ValueError as error:
        raise damaged(store, checkpoint.folder, MANIFEST, str(error)) from error


def _load(engine: Engine, root: Path, tag: str, url: str) -> None:
    """Engine.load; StorageError where the files, sound as they are, hold something else than this model's state."""
    try:
        engine.load(root, tag)
    except (LookupError, TypeError, AttributeError, AssertionError, ValueError, RuntimeError) as error:
        # Of another rank that is gone, or of this device: another start may do better.
        if isinstance(error, torch.OutOfMemoryError | dist.DistError) or "gloo" in str(error):
            raise
        line = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise StorageError(
            url, f"DeepSpeed cannot go on from its state ({line}); {REMEDY.format(url)}"
        ) from error


def changes(checkpoint: Checkpoint, config: RunConfig, data: str) -> list[str]:
    """Words about what a resume changes of that which decides the steps to come; `data` is the clips' digest."""
    saved, given = checkpoint.config, config.model_dump(mode="json")
    # A cosine ends at the last step, so another number of steps is another rate at each.
    names = (*CURVE, "steps") if config.optim.decay == "cosine" else CURVE
    found = [words for name in names for words in differences(saved[name], given[name], name)]
    for group, name in (("engine", "precision"), ("data", "streams"), ("data", "block")):
        found += differences(saved[group].get(name), given[group][name], f"{group}.{name}")
    if not checkpoint.data:
        found.append("clips come in another order than in the version that saved it")
    elif checkpoint.data != data:
        found.append(f"field data.url: {config.data.url} holds other clips than those trained on so far")
    return found


def _download_state(store: Store, checkpoint: Checkpoint, root: Path) -> None:
    """All ranks' DeepSpeed files of a checkpoint, merged into root/TAG."""
    (root / TAG).mkdir(parents=True)
    for name in checkpoint.files:
        if f"/state/{TAG}/" in name:
            path = download(store, checkpoint, name, root / "parts")
            read_state(store, checkpoint, name, path, *state_types())
            shutil.move(path, root / TAG / path.name)
