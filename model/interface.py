"""The nouns that every model shares: what goes in (Video), what comes out (ModelOutput, Views), what a model is.

Axis letters, everywhere in the project: `b t k c h w` = batch, time, slot, channel, height, width;
`d` features, `p` particles, `n` true objects. Layout is always batch first, then time, then slots.

Time alignment of outputs. `Views.prediction` holds predictions of the *last* p frames of the clip
(`prediction[:, -i]` predicts `frames[:, -i]`). Every per-slot field holds the *first* s frames
(`amodal_masks[:, i]` belongs to `frames[:, i]`): the last frame is often predicted but never decomposed.
Each field of Views says which it is in its metadata: LAST, FIRST or SLOTS.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.remat import Remat

LAST = {"frames": "last"}  # axis 1 is the clip's last frames
FIRST = {"frames": "first"}  # axis 1 is its first frames
SLOTS = {"frames": "first", "slots": True}  # and axis 2 the slots


@dataclass(frozen=True)
class Truth:
    """Ground truth of a batch of clips; None = the data set has no such label. Only scores and tests read it.

    But for `labels`, which training hands on as `Video.labels` to models that learn from labels.

    Objects are numbered 1..n; clips with fewer objects are padded (`present` False, everything else 0).
    Positions are (x, y) in pixels, pixel centres at integer + 0.5, so a frame spans [0, w] x [0, h].
    """

    visible_ids: Int[Tensor, "b t h w"] | None = None  # 0 = background
    amodal_masks: Float[Tensor, "b t n h w"] | None = None  # coverage in [0, 1], occluded parts included
    depth_ranks: Int[Tensor, "b n"] | None = None  # 0 = nearest
    centres: Float[Tensor, "b t n 2"] | None = None
    velocities: Float[Tensor, "b t n 2"] | None = None  # pixels per frame, from t to t + 1
    colours: Float[Tensor, "b n c"] | None = None  # in [0, 1]
    present: Int[Tensor, "b n"] | None = None  # 1 where the object exists
    labels: Int[Tensor, "b t h w"] | None = None  # class of each pixel, -1 = void or not labelled


@dataclass(frozen=True)
class Video:
    """A batch of clips on the device. Frames are in [0, 1].

    `labels` are supervision, given in training only, and mostly for some frames only: the class of each pixel from 0,
    -1 where there is none. Models that learn without labels ignore it; nobody is shown it when scored.
    """

    frames: Float[Tensor, "b t c h w"]
    truth: Truth | None = None
    labels: Int[Tensor, "b t h w"] | None = None


@dataclass(frozen=True)
class Views:
    """What can be drawn and scored, detached. None = the model has no such thing.

    Motion is the *forward* homography from frame t to t + 1 in normalised coordinates: x right, y down,
    [-1, 1] spans the frame edge to edge (align_corners=False).

    Flow is forward motion too, (x, y) in pixels of the frame, but on the grid of the frame it leads *to*:
    what is at p in frames[:, -i] was at p - flow[:, -i](p) in the frame before. Files of true flow (Middlebury,
    Sintel) give the motion on the grid of the frame it starts from.
    """

    prediction: Float[Tensor, "b p c h w"] | None = field(default=None, metadata=LAST)
    # identity order, occluded parts included
    amodal_masks: Float[Tensor, "b s k h w"] | None = field(default=None, metadata=SLOTS)
    # identity order, sum over k <= 1
    visible_masks: Float[Tensor, "b s k h w"] | None = field(default=None, metadata=SLOTS)
    # colour memory, not multiplied by masks
    slot_frames: Float[Tensor, "b s k c h w"] | None = field(default=None, metadata=SLOTS)
    background: Float[Tensor, "b s c h w"] | None = field(default=None, metadata=FIRST)
    # row = slot, column = rank, rank 0 nearest
    depth_order: Float[Tensor, "b s k k"] | None = field(default=None, metadata=SLOTS)
    motion: Float[Tensor, "b s k 3 3"] | None = field(default=None, metadata=SLOTS)
    # x0 y0 x1 y1 in pixels
    boxes: Float[Tensor, "b s k 4"] | None = field(default=None, metadata=SLOTS)
    presence: Float[Tensor, "b s k"] | None = field(default=None, metadata=SLOTS)
    # pixels; f = pairs, last aligned like prediction
    flow: Float[Tensor, "b f 2 h w"] | None = field(default=None, metadata=LAST)
    log_weights: Float[Tensor, "b p"] | None = None  # per particle
    # probabilities
    labels: Float[Tensor, "b t classes h w"] | None = field(default=None, metadata=FIRST)
    # of the frame before, moved by the flow
    carried_labels: Float[Tensor, "b t classes h w"] | None = field(default=None, metadata=FIRST)

    def map(self, f: Callable[[Tensor], Tensor]) -> "Views":
        """The views with `f` applied to every tensor that is there."""
        present = {x.name: getattr(self, x.name) for x in fields(self)}
        return replace(self, **{name: None if v is None else f(v) for name, v in present.items()})


class ModelOutput(NamedTuple):
    """`loss` is differentiated; `terms` are its named parts and the health of the slots, detached."""

    loss: Float[Tensor, ""]
    terms: dict[str, Float[Tensor, ""]]
    views: Views


class VideoModel(nn.Module, ABC):
    """A model of video.

    Rules that let DeepSpeed, rematerialisation and the tests work: submodules are only ever called;
    nothing is stored on self in forward; no `.backward()` inside; random numbers only from torch's
    default generators, so that recomputation replays them. But for running statistics of batch normalisation,
    which a forward pass in training mode updates, once.
    """

    @abstractmethod
    def forward(self, video: Video, step: int) -> ModelOutput:
        """Loss and views of a batch; `step` (optimiser steps done so far) sets annealed quantities.

        In training mode draws what the paper draws; in eval mode is deterministic.
        """

    @abstractmethod
    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """Roll-out: the `horizon` frames that follow the given ones.

        Raises:
            ValueError: the model predicts no frames (it has no `Views.prediction` either).
        """


@dataclass(frozen=True)
class ModelConfig(ABC):
    """What can be chosen of a model; it lies beside its network, and its defaults are the paper's.

    Fields are checked when it is made: a bad one raises ValueError. What has to be known of a model before it is built
    is declared here; whoever differs says so, by a field or property of the same name.
    """

    predicts: ClassVar[bool] = True
    """Whether it predicts frames: it has `Views.prediction`, and `predict` gives more of them."""

    remat: str = "none"
    """What a recurrence keeps for its backward pass: none (keep all), every:N, sqrt or bytes:N, see remat.py. Models
    without one ignore it."""

    def __post_init__(self) -> None:
        Remat.parse(self.remat)

    @property
    def classes(self) -> int:
        """How many classes of pixels it learns to tell apart from `Video.labels`; 0 = it learns without labels."""
        return 0

    @property
    def binary(self) -> bool:
        """Whether its predictions are probabilities of lit pixels, and not shades."""
        return False

    @classmethod
    @abstractmethod
    def small(cls) -> "ModelConfig":
        """A config that is built and trained in milliseconds, for tests of what every model promises.

        It takes clips of seven frames (or fewer, down to the model's least), 16x16 pixels, three channels and three
        classes, and has something in every part.
        """

    @abstractmethod
    def build(self) -> VideoModel:
        """The model, randomly initialised from torch's default generator."""


def mean_absolute(a: Tensor, b: Tensor) -> Float[Tensor, ""]:
    """Mean absolute difference over all elements."""
    return torch.mean(torch.abs(a - b))
