"""The weights of exported models: files of safetensors, which hold no code."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from data_shards.storage.store import Store
from trainer.checkpoints.checkpoint import Checkpoint
from trainer.checkpoints.exported import CONFIG, LIBRARY, WEIGHTS, damaged_export, exported_checkpoint


def exported_files(checkpoint: Checkpoint, weights: Mapping[str, Tensor], url: str) -> dict[str, bytes]:
    """The files of a model but for its card, by name; `url` is where it comes from."""
    # Copies: safetensors refuses tensors that share memory.
    copies = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    data = safetensors.torch.save(copies, {"format": "pt"})
    files = {WEIGHTS: (len(data), hashlib.sha256(data).hexdigest())}
    tree = {
        "library_name": LIBRARY,
        "model_type": checkpoint.config["model"]["name"],
        "exported_from": url,
        "checkpoint": asdict(replace(checkpoint, files=files, progress={})),
    }
    return {WEIGHTS: data, CONFIG: json.dumps(tree, indent=1).encode()}


def read_exported(store: Store) -> tuple[Checkpoint, Mapping[str, Tensor]]:
    """The manifest of a model's folder and its weights, on CPU.

    Raises:
        StorageError: a file is missing, damaged or of something else.
    """
    checkpoint = exported_checkpoint(store)
    size, sha = checkpoint.files.get(WEIGHTS, (0, ""))
    if store.size(WEIGHTS) != size:  # first, for it may be of any size
        raise damaged_export(store, WEIGHTS, f"its size differs from that in {CONFIG}")
    data = store.read(WEIGHTS)
    if hashlib.sha256(data).hexdigest() != sha:
        raise damaged_export(store, WEIGHTS, f"its hash differs from that in {CONFIG}")
    try:
        return checkpoint, safetensors.torch.load(data)
    except SafetensorError as error:
        raise damaged_export(store, WEIGHTS, str(error)) from error
