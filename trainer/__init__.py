"""One training run: config, loop, engine, checkpoints, evaluation, pictures. Runs without Ray."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.interface import VideoModel


def load(url: str) -> "VideoModel":
    """The model of a run, of a checkpoint or of an exported folder, a path or URL: on CPU, in eval mode.

    Raises:
        UserError: there is none, or the code's model has changed since.
        StorageError: it is damaged.
    """
    from trainer.checkpoints.load import load_model  # only who loads a model waits for torch

    return load_model(url).model
