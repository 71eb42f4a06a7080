"""The model of a run or a checkpoint, for those who score it or show it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from data_shards.mistake import UserError
from data_shards.scratch import scratch_folder
from data_shards.storage.place import open_store
from data_shards.storage.store import Store
from model.interface import VideoModel
from trainer.checkpoints import state_files
from trainer.checkpoints.checkpoint import (
    Checkpoint,
    download,
    of_checkpoint,
    read_checkpoint,
    run_of,
    weights_name,
)
from trainer.checkpoints.exported import is_exported
from trainer.checkpoints.exported_weights import read_exported
from trainer.config import RunConfig
from trainer.overrides import validated


@dataclass(frozen=True)
class LoadedModel:
    """A model with the weights of a checkpoint, on CPU, in eval mode."""

    config: RunConfig
    model: VideoModel
    checkpoint: Checkpoint
    url: str

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self.checkpoint.step


def load_model(url: str) -> LoadedModel:
    """The model of a run (its newest checkpoint), of one checkpoint (`<run>/checkpoints/step-00000040`) or exported.

    Raises:
        UserError: there is no complete checkpoint at `url`, or not any more, or the code's model has changed since.
        StorageError: the checkpoint is damaged.
    """
    return _model(*read_weights(url))


def read_weights(url: str) -> tuple[Checkpoint, str, Mapping[str, Tensor]]:
    """The checkpoint that `load_model` would take, its URL, and its weights by name, on CPU.

    Raises:
        UserError: there is no complete checkpoint at `url`, or not any more.
        StorageError: the checkpoint is damaged.
    """
    store = open_store(run_of(url))
    if is_exported(store):
        checkpoint, weights = read_exported(store)
        return checkpoint, store.url, weights
    return of_checkpoint(url, _read)


def _read(store: Store, step: int) -> tuple[Checkpoint, str, Mapping[str, Tensor]]:
    checkpoint = read_checkpoint(store, step)
    with scratch_folder("read") as folder:
        name = weights_name(checkpoint)
        path = download(store, checkpoint, name, folder)
        weights = state_files.read_weights(store, checkpoint, name, path)
    return checkpoint, store.address(checkpoint.folder), weights


def _model(checkpoint: Checkpoint, url: str, weights: Mapping[str, Tensor]) -> LoadedModel:
    try:
        known = {name: value for name, value in checkpoint.config.items() if name in RunConfig.model_fields}
        config = validated(known, RunConfig)
        with torch.device("meta"):  # without memory, for a forged config may ask for any
            wanted = config.model.build().state_dict()
    except ValueError as error:
        raise UserError(f"{url}: its config is none of this version: {error}") from error
    if {n: v.shape for n, v in weights.items()} != {n: v.shape for n, v in wanted.items()}:
        reason = f"its weights were saved by revision {checkpoint.revision} and do not fit this code's model"
        raise UserError(f"{url}: {reason}")
    model = config.model.build()
    model.load_state_dict(weights)
    return LoadedModel(config, model.eval(), checkpoint, url)
