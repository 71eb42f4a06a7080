"""Evaluations as they lie beside their run: under which name, and which may be believed."""

import hashlib
from pathlib import Path

from data_shards.manifest import read_manifest, split_shards
from data_shards.storage.place import open_store
from data_shards.storage.store import Store
from trainer.checkpoints.checkpoint import run_of
from trainer.checkpoints.load import LoadedModel
from trainer.evaluation.result import Evaluation


def evaluation_name(split: str, data: str | None = None, limit: int | None = None) -> str:
    """Where an evaluation lies below its run: of its own data set or of another, of all clips or the first `limit`."""
    first = "" if limit is None else f"-first-{limit}"
    # Sets in different places may have the same last part.
    digest = hashlib.sha256((data or "").encode(errors="surrogateescape")).hexdigest()[:8]
    of = "" if data is None else f"{Path(data).name}-{digest}-"
    return f"evaluation/{of}{split}{first}.json"


def store_beside_run(result: Evaluation, own_data: bool, limit: int | None = None) -> None:
    """Write it below the run, as `evaluation_name` says; a limit that keeps no clip out is none."""
    if limit is not None and limit >= read_manifest(result.data).samples(result.split):
        limit = None
    name = evaluation_name(result.split, None if own_data else result.data, limit)
    open_store(run_of(result.checkpoint)).put(name, result.to_json().encode())


def stored_evaluation(
    store: Store, loaded: LoadedModel, data: str, split: str, limit: int
) -> Evaluation | None:
    """A stored evaluation of these very weights on these clips, of the first `limit` at least; None without one.

    Raises:
        UserError: there is no such split.
    """
    other = None if data == loaded.config.data.url else data
    manifest = read_manifest(data)
    wanted = min(limit, sum(shard.samples for shard in split_shards(manifest, split, data)))
    scored = (loaded.url, loaded.checkpoint.weights, data, manifest.digest(split))
    for name in (evaluation_name(split, other), evaluation_name(split, other, limit)):
        if store.exists(name):
            try:
                result = Evaluation.from_json(store.read(name).decode())
            except (ValueError, TypeError, KeyError, AttributeError):
                continue  # damaged, or forged: it is made again
            found = (result.checkpoint, result.weights, result.data, result.shards)
            if found == scored and result.clips >= wanted:
                return result
    return None
