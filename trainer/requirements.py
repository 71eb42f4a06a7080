"""What a run needs of its data set and its model, told before anything is written."""

import os
import shutil
import sys
from copy import deepcopy

import torch

from data_shards.loader import scan
from data_shards.manifest import Manifest
from data_shards.mistake import UserError
from data_shards.storage.place import require_folder
from model.bounds import Unfit
from model.interface import Video, VideoModel
from model.remat import BudgetError
from trainer.config import RunConfig


def require_data(config: RunConfig, manifest: Manifest) -> None:
    """UserError unless there is room for the output, and the data set has the splits, lengths and labels it needs."""
    try:
        require_folder(config.output)
    except UserError as error:
        raise UserError(f"field output: {error}") from None
    url, have = config.data.url, ", ".join(manifest.splits)
    if "train" not in manifest.splits:
        raise UserError(f"{url}: no train split, only {have}")
    if config.evaluation.steps and config.evaluation.split not in manifest.splits:
        raise UserError(
            f"field evaluation.split: got {config.evaluation.split}, but {url} has only {have}; set evaluation.split "
            f"to one of these, or evaluation.steps=0 to train without scores"
        )
    longest, whole = max(config.batch.lengths(manifest.shape[0])), manifest.shape[0]
    if longest > whole:
        raise UserError(f"field batch.frames: got {longest}, but the clips of {url} have {whole} frames")
    if classes := config.model.classes:
        if "labels" not in manifest.fields:
            raise UserError(f"{url}: has no labels, which the model learns from")
        known = len(manifest.statistics.get("classes", ()))
        if known > classes:
            raise UserError(f"field model.classes: got {classes}, but {url} has {known} classes")


def require_clip(config: RunConfig) -> None:
    """StorageError unless the first clip can be read and is of the shape that the set says, which is now believed."""
    for _ in scan(config.data, "train", 1, fields=("frames",), limit=1):
        return


def require_fit(
    model: VideoModel, config: RunConfig, manifest: Manifest, device: torch.device, micro: int
) -> None:
    """UserError, in the model's words, unless the run can train it on clips of the set's shape.

    It must have something to learn and take such a clip: it is shown an empty one, and one of the fewest frames that
    it will be trained on. Under a byte budget it also runs on `micro` clips of the most frames with grad, as a step of
    training will, which costs a forward pass; on a copy, for that moves running statistics of batch normalisation.
    """
    if config.model.compile:
        _require_compiler(config, device)
    if not any(True for _ in model.parameters()):
        name = config.model_dump(mode="json")["model"]["name"]
        raise UserError(f"field model.name: got {name}, which has no weights to train; name another model")
    t, h, w, c = manifest.shape
    lengths = config.batch.lengths(t)
    model.eval()
    shortest = {min(lengths): f"field batch.frames: got {min(lengths)}"}
    for length, told in (shortest | {t: config.data.url}).items():
        try:
            with torch.no_grad():
                model(Video(torch.zeros(1, length, c, h, w, device=device)), 0)
        except Unfit as error:
            raise UserError(f"{told}: {error}") from error
    model.train()
    if not config.model.remat.startswith("bytes"):
        return
    bf16 = torch.autocast(device.type, torch.bfloat16, enabled=config.engine.precision == "bf16")
    with torch.random.fork_rng([device] if device.type == "cuda" else []), bf16:
        try:
            deepcopy(model)(Video(torch.zeros(micro, max(lengths), c, h, w, device=device)), 0)
        except BudgetError as error:
            raise UserError(f"field model.{error}") from error


def _require_compiler(config: RunConfig, device: torch.device) -> None:
    """UserError where the step of a recurrence cannot be compiled."""
    if config.engine.zero_stage == 3:
        raise UserError(
            "field model.compile: got true, but at ZeRO stage 3 weights come and go within a step, which cannot be "
            "compiled; set engine.zero_stage to 2 or less, or model.compile=false"
        )
    wanted = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and not shutil.which(wanted):
        raise UserError(
            f"field model.compile: got true, but there is no C++ compiler {wanted} here; install it, name another in "
            "the environment variable CXX, or set model.compile=false"
        )
