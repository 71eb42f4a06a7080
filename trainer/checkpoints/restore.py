"""restore(): an engine that goes on where a checkpoint left off, also on another number of ranks."""

from pathlib import Path

import torch
import torch.distributed as dist

from data_shards.storage.store import StorageError, Store
from model.interface import VideoModel
from monitoring.run_state import Past, Timeline
from trainer.checkpoints.checkpoint import MANIFEST, REMEDY, Checkpoint, damaged, weights_name
from trainer.checkpoints.fetch import UNIVERSAL, Fetched
from trainer.checkpoints.state_files import read_weights
from trainer.checkpoints.weights import differences, require_same_weights, shapes
from trainer.config import RunConfig
from trainer.engine import TAG, Engine
from trainer.process_group import ProcessGroup

CURVE = ("model", "optim", "batch", "seed")  # what the losses to come depend on, besides the data


def restore(
    saved: Fetched, store: Store, config: RunConfig, group: ProcessGroup, model: VideoModel
) -> Engine:
    """An engine with a checkpoint's weights and optimiser; its files here are deleted. A collective.

    On the same number of ranks DeepSpeed reads its own files, bit for bit. On another number, ZeRO 1-3 go through
    DeepSpeed's Universal Checkpoint; stage 0 holds everything on rank 0.

    Raises:
        UserError: the names or shapes of the weights differ.
        StorageError: the files hold something else than the state of this model.
    """
    checkpoint, root = saved.checkpoint, saved.folder
    url, name = f"{store.url}/{checkpoint.folder}", weights_name(checkpoint)
    shapes_there = shapes(read_weights(store, checkpoint, name, root / name))
    group.barrier()  # a refusal deletes what others may not have read yet
    require_same_weights(shapes_there, model, checkpoint, config, url)
    engine = Engine(model, config, group, saved.universal)
    _load(engine, root, UNIVERSAL if saved.universal else TAG, url)
    group.barrier()
    saved.delete()
    return engine


def timeline_of(store: Store, checkpoint: Checkpoint, past: Past | None = None) -> Timeline:
    """Where the run's time went up to `checkpoint`; StorageError where that is damaged."""
    try:
        return Timeline.resumed(checkpoint.progress, past=past)
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
