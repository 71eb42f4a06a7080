"""A model as a folder that travels: weights as safetensors, what made them as JSON, and a card.

    model.safetensors   the weights by name, without code
    config.json         the manifest of the checkpoint that they are of: config, step, revision, size and hash
    README.md           the card, with its facts in front as YAML

The names are those of Hugging Face's hub. Whoever loads a model takes such a folder as a run or a checkpoint.
"""

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError, Store
from trainer.checkpoints.checkpoint import Checkpoint, of_checkpoint, read_checkpoint, run_of

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"
LIBRARY = "commonfate"

_MANIFEST = TypeAdapter(Checkpoint)


def checkpoint_at(url: str) -> Checkpoint:
    """The manifest of a run's newest checkpoint, of one checkpoint, or of an exported folder.

    Raises:
        UserError: there is none.
        StorageError: it is damaged.
    """
    store = open_store(run_of(url))
    return exported_checkpoint(store) if is_exported(store) else of_checkpoint(url, read_checkpoint)


def is_exported(store: Store) -> bool:
    """Whether there is such a folder, and not a run."""
    return store.exists(WEIGHTS)


def exported_checkpoint(store: Store) -> Checkpoint:
    """The manifest of the checkpoint that was exported.

    Raises:
        StorageError: it is missing, damaged or of something else.
    """
    try:
        tree: Any = json.loads(store.read(CONFIG))
        if not isinstance(tree, dict) or tree.get("library_name") != LIBRARY:
            raise damaged_export(store, CONFIG, f"is none of {LIBRARY}")
        return _MANIFEST.validate_python(tree.get("checkpoint"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("checkpoint", *first["loc"])))
        raise damaged_export(store, CONFIG, f"{place}: {first['msg']}") from error
    except ValueError as error:
        raise damaged_export(store, CONFIG, "is no JSON") from error


def damaged_export(store: Store, name: str, why: str) -> StorageError:
    """What is wrong with a file of it."""
    return StorageError(store.address(name), f"{why}; export the model once more")
