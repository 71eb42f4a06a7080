"""RunConfig: everything that decides a run, as one tree of frozen pydantic models.

The tree is the only truth: the DeepSpeed JSON, the optimiser and the loader are derived from it, and the resolved
tree with its hash is stored in every checkpoint. `resolve` in overrides.py builds one from a recipe and the
command line.
"""

import dataclasses
import hashlib
import json
from functools import cache, reduce
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SkipValidation,
    TypeAdapter,
    field_validator,
)

from data_shards.loader import DataConfig
from data_shards.mistake import UserError
from data_shards.storage.place import canonical, check_url, is_http
from model import MODELS
from model.interface import ModelConfig
from model.schedule import Stairs
from trainer.frozen import Frozen
from trainer.stages import Stage


def model_from(value: Any) -> Any:
    """A model config from {"name": NAME, field: value, ...}, a bare NAME, or a config itself."""
    if isinstance(value, str):
        value = {"name": value}
    if type(value) in MODELS.values():
        return value
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in MODELS:
        raise ValueError(f"needs the name of a model: {', '.join(sorted(MODELS))}")
    rest = {key: v for key, v in value.items() if key != "name"}
    return _adapter(MODELS[name]).validate_python(rest)


@cache  # it takes ten times as long to make as to use
def _adapter(cls: Any) -> Any:
    return TypeAdapter(cls)


def model_to(value: Any) -> dict[str, Any]:
    """The inverse of `model_from`: the fields with the name of the model in the table MODELS."""
    name = next(name for name, cls in MODELS.items() if type(value) is cls)
    return {"name": name, **dataclasses.asdict(value)}


def frames_from(value: Any) -> Any:
    """Numbers of frames from a number, {"values": [...], "steps": [...]} or None."""
    frames = TypeAdapter(Stairs).validate_python(value) if isinstance(value, dict) else value
    for count in frames.values if isinstance(frames, Stairs) else (frames,):
        if count is not None and (type(count) is not int or count < 1):
            stairs = '{"values": [3, 5, 10], "steps": [1000, 2000]}'
            raise ValueError(f"needs whole numbers from 1 up, such as 3 or {stairs}; null = all")
    return frames


class BatchConfig(Frozen):
    """The global batch. The random draws of a step are a function of (seed, step, micro-batch).

    With `micro` set, a run gives the same losses on any number of workers that divides size / micro; without it
    each worker does its share in one go, and the draws depend on the number of workers.
    """

    size: int = Field(32, ge=1, le=1 << 20)
    """Clips of a step, over all workers."""
    micro: int | None = Field(None, ge=1)
    """Clips that a worker does at once; null = its whole share."""
    frames: Annotated[int | Stairs | None, BeforeValidator(frames_from)] = None
    """First frames of each clip that a step trains on, also as stairs over steps; null = all."""

    def length(self, step: int, whole: int) -> int:
        """Frames of each clip that optimiser step `step` (from 0) trains on; `whole` is the clips' own length."""
        frames = self.frames.at(step) if isinstance(self.frames, Stairs) else self.frames
        return whole if frames is None else int(frames)

    def lengths(self, whole: int) -> tuple[int, ...]:
        """Every length that `length` gives at one step or another."""
        return tuple(self.length(step, whole) for step in (0, *getattr(self.frames, "steps", ())))

    def divides(self, workers: int) -> bool:
        """Whether all of `workers` get equally many clips, in whole micro-batches."""
        return self.size % (workers * (self.micro or 1)) == 0

    def micro_of(self, workers: int) -> int:
        """Clips per forward pass of each of `workers`.

        Raises:
            UserError: the batch cannot be shared out among them evenly.
        """
        micro = self.micro or max(self.size // workers, 1)
        if not self.divides(workers):
            raise UserError(
                f"field batch.size: got {self.size}, needs a multiple of batch.micro x workers = {micro} x {workers}; "
                f"set batch.size or batch.micro, or use another number of workers"
            )
        return micro


Share = Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(Frozen):
    """Optimiser and its schedule; `lr` is multiplied by warm-up and decay, both functions of the step."""

    name: Literal["rmsprop", "rmsprop-tf", "adam", "sgd"] = "rmsprop"
    """The optimiser; rmsprop-tf has TensorFlow's semantics, rmsprop torch's."""
    lr: float = Field(1e-3, gt=0)
    """Learning rate."""
    alpha: float = Field(0.99, ge=0, lt=1)
    """RMSprop: decay of the mean squared gradient."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """RMSprop, SGD: share of the last update that is kept."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Adam: decay of the mean gradient and of its square."""
    eps: float = Field(1e-8, gt=0)
    """RMSprop, Adam: keeps the division by the root of the squared gradient finite."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 added to the gradient: 2 * lambda of the papers' lambda * |w|^2."""
    clip_norm: float = Field(0.0, ge=0)
    """Greatest norm of the whole gradient; 0 = off."""
    clip_value: float = Field(0.0, ge=0)
    """Greatest absolute value of each element of the gradient; 0 = off."""
    warmup_steps: int = Field(0, ge=0)
    """Optimiser steps in which the learning rate rises to lr."""
    decay: Literal["constant", "exponential", "cosine"] = "constant"
    """What becomes of the learning rate after the warm-up."""
    decay_factor: float = Field(0.9, gt=0, le=1)
    """Exponential decay: lr *= factor every decay_steps."""
    decay_steps: int = Field(1, ge=1)
    """Exponential decay: optimiser steps between two factors."""
    final_fraction: float = Field(0.0, ge=0, le=1)
    """Cosine decay: where it ends, as a share of lr."""


class EngineConfig(Frozen):
    """How a step is executed. `precision` bf16 is autocast: weights and optimiser stay fp32."""

    zero_stage: int = Field(0, ge=0, le=3)
    """What DeepSpeed shards over workers: 0 nothing, 1 optimiser, 2 gradients too, 3 weights too."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Numbers that convolutions and products are computed in."""
    threads: int | None = Field(None, ge=1, le=4096)
    """CPU threads of a process; null = torch's choice."""
    hash_steps: int = Field(100, ge=0)
    """Optimiser steps between two comparisons of the weights of all ranks; 0 = never."""


class CheckpointConfig(Frozen):
    """When to save and how many to keep. The last step is always saved."""

    steps: int = Field(500, ge=1)
    """Optimiser steps between two checkpoints."""
    keep: int = Field(2, ge=1)
    """Newest checkpoints that stay."""
    deadline_s: float = Field(600, gt=0)
    """Seconds for the parts of all ranks to reach storage."""


class EvaluationConfig(Frozen):
    """Scoring during training; `python -m trainer evaluate` scores any checkpoint afterwards."""

    steps: int = Field(0, ge=0)
    """Optimiser steps between two evaluations; 0 = never during training."""
    split: str = "val"
    """Of the data set."""
    clips: int | None = Field(200, ge=1)
    """The first so many of the split; null = all."""

    def due(self, step: int, last: int) -> bool:
        """Whether a run that ends at step `last` is scored after `step` of its steps."""
        return bool(self.steps) and (step % self.steps == 0 or step == last)


class MonitoringConfig(Frozen):
    """What Prometheus is served."""

    port: int | None = Field(0, ge=0, le=65000)
    """Rank r listens on port + r; 0 = any free port, null = nothing is served."""
    host: str = "127.0.0.1"
    """Address that each worker listens at; on several hosts it must be 0.0.0.0."""
    targets: str | None = None
    """Folder for Prometheus' file discovery, or URL of a TargetServer; null = targets/ in the run's local folder."""

    @field_validator("targets")
    @classmethod
    def _on_this_machine(cls, value: str | None) -> str | None:
        if value is None or (is_http(value) and urlsplit(value).port != 0):  # ValueError where it is no URL
            return value
        if check_url(value)[0]:
            raise ValueError("Prometheus reads no buckets: name a folder or http://host:port/targets")
        return canonical(value)


# Fields that came after the first checkpoints, and what they are where they are not used; a model's, where it has them.
YOUNGER: dict[str, Any] = {
    "start": None,
    "batch.frames": None,
    "stages": [],
    "model.starts": "frame",
    "model.recognition": False,
    "model.merging": False,
    "model.evidence": "network",
    "model.inertia": False,
    "model.matching": 0,
    "model.presence_temperature": 1.0,
    "model.compile": False,
}


class RunConfig(Frozen):
    """One training run."""

    recipe: str = ""
    """The recipe that the run started from, for the record."""
    model: Annotated[SkipValidation[ModelConfig], BeforeValidator(model_from), PlainSerializer(model_to)]
    """What is trained: a name, or a name with its fields."""
    data: DataConfig
    """Where clips come from and how they are read."""
    batch: BatchConfig = BatchConfig()
    """The global batch."""
    optim: OptimConfig = OptimConfig()
    """Optimiser and its schedule."""
    engine: EngineConfig = EngineConfig()
    """How a step is executed."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """When to save and how many to keep."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Scoring during training."""
    monitoring: MonitoringConfig = MonitoringConfig()
    """What Prometheus is served."""
    output: str = "runs/latest"
    """The run's folder: a path or s3://bucket/prefix."""
    start: str | None = None
    """URL of a run, or of a checkpoint, whose weights a new run begins from; a run that goes on ignores it."""
    steps: int = Field(10_000, ge=1)
    """Optimiser steps."""
    log_steps: int = Field(20, ge=1)
    """Optimiser steps between two lines of metrics."""
    seed: int = Field(0, ge=0, lt=1 << 63)
    """Of weights, order of clips and random draws."""
    stages: tuple[Stage, ...] = ()
    """Runs below output, each of which begins from the weights of the last, see docs/stages.md; [] = one run."""

    @field_validator("stages", mode="before")
    @classmethod
    def _some_stages(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and all(isinstance(each, dict | Stage) for each in value):
            return value
        raise ValueError('needs a list of stages like [{"overrides":{"steps":500}},{}] (docs/stages.md)')

    @field_validator("output", "start")
    @classmethod
    def _one_place(cls, value: str | None) -> str | None:
        return None if value is None else canonical(value)

    def digest(self) -> str:
        """Twelve hexadecimal digits over all fields: equal configs, equal digests.

        A field of YOUNGER counts where it is used, so that a config keeps the digest it had before there was one.
        """
        tree = self.model_dump(mode="json")
        for path, unused in YOUNGER.items():
            *groups, name = path.split(".")
            node = reduce(dict.__getitem__, groups, tree)
            if name in node and node[name] == unused:
                del node[name]
        text = json.dumps(tree, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
