"""Whether the weights of a checkpoint are those of a model; a run that begins from another's."""

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from data_shards.mistake import UserError
from data_shards.storage.store import StorageError
from model.interface import VideoModel
from trainer.checkpoints.checkpoint import Checkpoint
from trainer.checkpoints.load import read_weights
from trainer.config import RunConfig
from trainer.process_group import ProcessGroup

RESUME = "resume with {} or start in another output"


def start_from(url: str, model: VideoModel, config: RunConfig, group: ProcessGroup) -> None:
    """Give `model` the weights of a run (its newest checkpoint) or of a checkpoint, on all ranks. A collective.

    Rank 0 reads and the others are handed what it has read: one download, and all of the same checkpoint, also where
    the run at `url` is still going on.

    Raises:
        UserError: there is no complete checkpoint at `url`, or names or shapes of its weights are not the model's.
        StorageError: it is damaged.
    """
    refusal: UserError | StorageError | None = None
    if group.rank == 0:
        try:
            checkpoint, place, weights = read_weights(url)
            remedy = "start with {} or from other weights"
            require_same_weights(shapes(weights), model, checkpoint, config, place, remedy)
            model.load_state_dict(weights)
        except StorageError as error:
            refusal = error
        except UserError as error:
            refusal = UserError(f"field start: {error}")
    raise_everywhere(refusal, group)
    group.share(model.state_dict().values())


def require_same_weights(
    saved: Mapping[str, list[int]],
    model: VideoModel,
    checkpoint: Checkpoint,
    config: RunConfig,
    url: str,
    remedy: str = RESUME,
) -> None:
    """UserError unless the saved weights have the names and shapes of the model's.

    The configs may differ in what makes no weights, such as rematerialisation or the weights of losses.
    """
    weight = misfit(saved, shapes(model.state_dict()))
    if not weight:
        return
    fields = differences(checkpoint.config["model"], config.model_dump(mode="json")["model"], "model")
    if not fields:
        raise UserError(
            f"{url} was saved by revision {checkpoint.revision} and does not fit this code's model ({weight}); "
            f"{remedy.format('that revision')}"
        )
    raise UserError(
        f"{'; '.join(fields)}: the weights of {url} do not fit ({weight}); {remedy.format('what was saved')}"
    )


def misfit(saved: Mapping[str, list[int]], wanted: Mapping[str, list[int]]) -> str:
    """Words about the first weight whose shape differs or that only one side has; "" = they fit."""
    for name in (*wanted, *saved):
        if saved.get(name) != wanted.get(name):
            return f"{name}: {saved.get(name, 'absent')} there, {wanted.get(name, 'absent')} here"
    return ""


def shapes(weights: Mapping[str, Tensor]) -> dict[str, list[int]]:
    """The shape of every weight, by name."""
    return {name: list(value.shape) for name, value in weights.items()}


def differences(saved: Any, given: Any, path: str) -> list[str]:
    """Words about every field of two trees that differs; of two kinds of models about their names only."""
    if not isinstance(saved, dict) or not isinstance(given, dict):
        return [] if saved == given else [f"field {path}: got {given}, saved with {saved}"]
    if saved.get("name") != given.get("name"):
        return differences(saved.get("name"), given.get("name"), f"{path}.name")
    names = dict.fromkeys((*given, *saved))
    return [words for n in names for words in differences(saved.get(n), given.get(n), f"{path}.{n}")]


def raise_everywhere(refusal: UserError | StorageError | None, group: ProcessGroup) -> None:
    """Raise this rank's refusal, and rank 0's on all ranks: the others would wait for it, and say something else."""
    told = group.same("" if refusal is None else json.dumps([isinstance(refusal, UserError), *refusal.args]))
    if refusal is not None:
        raise refusal
    if told:
        mistake, *words = json.loads(told)
        raise UserError(*words) if mistake else StorageError(*words)
