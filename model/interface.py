"""The nouns that every model shares: what goes in (Video), what comes out (ModelOutput, Views), what a model is.

Axis letters, everywhere in the project: `b t k c h w` = batch, time, slot, channel, height, width; `s` decomposed
frames, `q` predicted frames, `d` features, `p` particles, `r` refinements, `n` true objects. Layout is always batch
first, then time, then slots.

Time alignment of outputs. `Views.prediction` holds predictions of the *last* q frames of the clip
(`prediction[:, -i]` predicts `frames[:, -i]`). Every per-slot field holds the *first* s frames
(`amodal_masks[:, i]` belongs to `frames[:, i]`): the last frame is often predicted but never decomposed.
Each field of Views says which it is in its metadata: LAST, FIRST or SLOTS.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.remat import Remat

LAST = {"frames": "last"}  # axis 1 is the clip's last frames
FIRST = {"frames": "first"}  # axis 1 is its first frames
SLOTS = {"frames": "first", "slots": True}  # and axis 2 the slots

Part = TypeVar("Part", "Views", "Particles", "Refinements")


@dataclass(frozen=True)
class Truth:
    """Ground truth of a batch of clips; None = the data set has no such label. Only scores and tests read it.

    But for `labels`, which training hands on as `Video.labels` to models that learn from labels. Objects are numbered
    1..n; clips with fewer objects are padded (`present` False, everything else 0).
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
    boxes: Float[Tensor, "b t n 4"] | None = None  # x0 y0 x1 y1 in pixels, parts outside the frame included
    exists: Int[Tensor, "b t n"] | None = None  # 1 where the object is there, seen or not
    visibility: Float[Tensor, "b t n"] | None = None  # share of the object that is inside the frame
    categories: Int[Tensor, "b n"] | None = None  # what the object is, such as a digit
    collisions: Int[Tensor, "b t h w"] | None = None  # 1 where an object is seen that hits another by t + 1


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
class Particles:
    """What each sample of a latent-variable model says of a clip; natural logarithms, summed over pixels and slots."""

    log_weights: Float[Tensor, "b p"]
    """Of the whole clip, log p(x, z) - log q(z | x): not normalised."""
    log_likelihood: Float[Tensor, "b p t"] | None = None
    """Of each frame, log p(x_t | z)."""
    kl: Float[Tensor, "b p t"] | None = None
    """Of each frame, the divergence of its posterior from its prior, exact or the sample's own."""
    counts: Int[Tensor, "b p t"] | None = None
    """Objects that are present in each frame."""


@dataclass(frozen=True)
class Refinements:
    """How the decomposition of each frame improves, from the first guess (index 0) to the last refinement."""

    masks: Float[Tensor, "b s r k h w"] | None = field(default=None, metadata=FIRST)
    """As `Views.visible_masks`."""
    frames: Float[Tensor, "b s r c h w"] | None = field(default=None, metadata=FIRST)
    """Frames as they are explained."""


@dataclass(frozen=True)
class Views:
    """What can be drawn and scored, detached. None = the model has no such thing.

    Motion is the *forward* homography from frame t to t + 1 in normalised coordinates: x right, y down,
    [-1, 1] spans the frame edge to edge (align_corners=False).

    Flow is forward motion too, (x, y) in pixels of the frame, but on the grid of the frame it leads *to*:
    what is at p in frames[:, -i] was at p - flow[:, -i](p) in the frame before. Files of true flow (Middlebury,
    Sintel) give the motion on the grid of the frame it starts from.
    """

    prediction: Float[Tensor, "b q c h w"] | None = field(default=None, metadata=LAST)
    """Frames in [0, 1]."""
    amodal_masks: Float[Tensor, "b s k h w"] | None = field(default=None, metadata=SLOTS)
    """In identity order, occluded parts included."""
    visible_masks: Float[Tensor, "b s k h w"] | None = field(default=None, metadata=SLOTS)
    """In identity order, sum over k <= 1."""
    slot_frames: Float[Tensor, "b s k c h w"] | None = field(default=None, metadata=SLOTS)
    """Colour memory, not multiplied by masks."""
    background: Float[Tensor, "b s c h w"] | None = field(default=None, metadata=FIRST)
    """What is behind all slots."""
    depth_order: Float[Tensor, "b s k k"] | None = field(default=None, metadata=SLOTS)
    """Row = slot, column = rank, rank 0 nearest."""
    motion: Float[Tensor, "b s k 3 3"] | None = field(default=None, metadata=SLOTS)
    """From the frame to the next."""
    boxes: Float[Tensor, "b s k 4"] | None = field(default=None, metadata=SLOTS)
    """x0 y0 x1 y1 in pixels; of a slot that is absent, anything."""
    presence: Float[Tensor, "b s k"] | None = field(default=None, metadata=SLOTS)
    """Probability that the slot holds an object."""
    identities: Int[Tensor, "b s k"] | None = field(default=None, metadata=SLOTS)
    """Number of the object that the slot holds, from 1 in the order of discovery; 0 = none. No number is used twice."""
    flow: Float[Tensor, "b f 2 h w"] | None = field(default=None, metadata=LAST)
    """In pixels, into the last f frames."""
    labels: Float[Tensor, "b t classes h w"] | None = field(default=None, metadata=FIRST)
    """Probabilities of the classes of pixels."""
    carried_labels: Float[Tensor, "b t classes h w"] | None = field(default=None, metadata=FIRST)
    """Those of the frame before, moved by the flow."""
    particles: Particles | None = None
    """Of models that sample."""
    refinements: Refinements | None = None
    """Of models that infer by iteration."""

    def map(self, f: Callable[[Tensor], Tensor]) -> "Views":
        """The views with `f` applied to every tensor that is there."""
        return _mapped(self, f)

    @staticmethod
    def joined(parts: Sequence["Views"]) -> "Views":
        """The views of several batches as those of one; all have the same fields."""
        tensors = zip(*(part.tensors().values() for part in parts), strict=True)
        # `map` goes through them in the order of `tensors`.
        return parts[0].map(lambda _: torch.cat(next(tensors)))

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that is there by its name, such as motion or particles.kl."""
        found: dict[str, Tensor] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Particles | Refinements):
                inner = {f"{entry.name}.{name}": part for name, part in vars(value).items()}
            else:
                inner = {entry.name: value}
            found |= {name: part for name, part in inner.items() if part is not None}
        return found


def _mapped(part: Part, f: Callable[[Tensor], Tensor]) -> Part:
    changed: dict[str, Any] = {}
    for entry in fields(part):
        if (value := getattr(part, entry.name)) is not None:
            changed[entry.name] = f(value) if isinstance(value, Tensor) else _mapped(value, f)
    return replace(part, **changed)


class ModelOutput(NamedTuple):
    """What a forward pass gives."""

    loss: Float[Tensor, ""]
    """What is differentiated."""
    terms: dict[str, Float[Tensor, ""]]
    """Its named parts, detached."""
    show: Callable[[], Views]
    """Makes the views from what the pass has kept, detached: neither modules nor the graph are needed any more."""

    @property
    def views(self) -> Views:
        """The views, made anew at each call: a step of training asks for none."""
        return self.show()


class VideoModel(nn.Module, ABC):
    """A model of video.

    Rules that let DeepSpeed, rematerialisation and the tests work: submodules are only ever called; nothing is stored
    on self in forward (but running statistics of batch normalisation, once, in training mode); no `.backward()` inside;
    random numbers only from torch's default generators, so that recomputation replays them.

    In training mode a model draws what its paper draws. In eval mode it is a function of weights and each clip alone.
    One that `samples` draws there too: it is shown a clip at a time, with generators seeded for it, see evaluation/.
    """

    samples: bool = False
    """Whether it draws in eval mode too."""
    independent: bool = False
    """Whether it sees each frame by itself: slots of a frame and of the next have nothing to do with each other."""

    @abstractmethod
    def forward(self, video: Video, step: int) -> ModelOutput:
        """Loss and views of a batch; `step` (optimiser steps done so far) sets annealed quantities."""

    @abstractmethod
    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """Roll-out: the `horizon` frames that follow the given ones.

        Raises:
            ValueError: the model predicts no frames (it has no `Views.prediction` either).
        """

    def follow(
        self, frames: Float[Tensor, "b t c h w"], step: int, before: "Followed | None" = None
    ) -> "Followed":
        """A video of any length, part by part: the views are the same however it is cut. Where the config `follows`."""
        raise NotImplementedError

    def sample(self, clips: int, frames: int, step: int, first: Int[Tensor, "b"] | None = None) -> Views:
        """Clips of the prior, as its views; `first`: objects they begin with. Where the config `generates`."""
        raise NotImplementedError


class Followed(NamedTuple):
    """What `follow` has seen of a part of a video."""

    views: Views
    """Slots of every frame; predictions of every frame but the video's first."""
    carried: Any
    """The state of the model behind the part, for its own use."""


@dataclass(frozen=True)
class ModelConfig(ABC):
    """What can be chosen of a model; it lies beside its network, and its defaults are the paper's.

    Fields are checked when it is made: a bad one raises ValueError. What has to be known of a model before it is built
    is declared here; whoever differs says so, by a field or property of the same name.
    """

    predicts: ClassVar[bool] = True
    """Whether it predicts frames: it has `Views.prediction`, and `predict` gives more of them."""
    follows: ClassVar[bool] = False
    """Whether `follow` takes videos of any length."""
    generates: ClassVar[bool] = False
    """Whether `sample` draws clips from its prior."""
    independent: ClassVar[bool] = False
    """Whether it sees each frame by itself, so that a clip is as likely as the product of its frames."""
    alone: ClassVar[bool] = False
    """Whether it takes clips of one frame too, though it predicts frames."""
    compiles: ClassVar[bool] = False
    """Whether the step of its recurrence can be compiled."""

    remat: str = "none"
    """What a recurrence keeps for its backward pass: none (keep all), every:N, sqrt or bytes:N, see remat.py. Models
    without one ignore it."""
    compile: bool = False
    """Whether training compiles the step of its recurrence (compiled.py): minutes at the start, then faster steps."""

    def __post_init__(self) -> None:
        Remat.parse(self.remat)
        if self.compile and not self.compiles:
            raise ValueError("compile: got true, but the step of this model is not compiled; leave it false")

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
