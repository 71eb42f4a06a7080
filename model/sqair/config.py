"""What can be chosen of AIR and SQAIR."""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

from model.bounds import require_at_least, require_one_of
from model.interface import ModelConfig
from model.probability.estimators import FORMS
from model.schedule import Ramp


@dataclass(frozen=True)
class Scene(ModelConfig, ABC):
    """Settings of a frame's objects: how they are found, what is known of them before, how they are drawn."""

    compiles: ClassVar[bool] = True
    convolutional: ClassVar[bool] = False
    """Whether frames and glimpses are read and drawn by convolutions."""

    size: int = 50
    """Side of the frames, pixels."""
    channels: int = 1
    """Colours of a frame: 1 grey, 3 RGB."""
    slots: int = 3
    """Most objects of a frame."""
    what: int = 50
    """Numbers that say what an object looks like."""
    glimpse: int = 20
    """Side of a glimpse, pixels."""
    hidden: int = 256
    """Units of layers and states; some layers have half as many."""
    deviation: float = 0.3
    """Standard deviation of a pixel, given the objects."""
    particles: int = 5
    """Samples of each clip in training, over which the bound is importance-weighted."""
    shown_particles: int = 0
    """Samples in eval mode, of which the first is shown; 0 = none: the likeliest of each choice, and means."""
    objective: str = "vimco"
    """What is trained: vimco, the bound with the paper's gradient; vimco-released, with the released code's; exact,
    departure: the evidence lower bound with the sum over all numbers of new objects, presences kept by their local
    gain in likelihood; or concrete, departure: presences are relaxed, and objects are drawn as far as they are
    there."""
    presence_temperature: float = 1.0
    """With concrete: of the relaxation; near 0 presences are 0 or 1."""
    count_prior: str = "learned"
    """Before a frame is seen, how many new objects: learned, a table as released; or odds, the same odds for each."""
    log_odds: Ramp = Ramp(-2.0, -2.0)
    """With odds: their logarithm in the first frame, annealed."""
    where_prior: str = "learned"
    """Where a new object may be: learned, from those that are there, as released; or fixed, a normal of each number."""
    size_mean: float = -2.0
    """Fixed prior: mean of the logits of size; 0 is half of the frame."""
    size_deviation: float = 1.0
    """Fixed prior: standard deviation of the logits of size."""
    decoder: str = "scaled"
    """How glimpses are made: scaled, linear times a learned number, as released; or sigmoid, departure, dark first."""
    mean_image: bool = True
    """A learned image under what objects cover, as released and not in the paper; black at first (departure)."""
    discovery_bias: float = 1.0
    """Bias of the logits of presence of new objects at first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "channels", "slots", "what", "particles")
        require_at_least(self, 2, "size", "glimpse", "hidden")
        require_at_least(self, 0, "shown_particles")
        require_at_least(self, 1e-3, "deviation", "presence_temperature", "size_deviation")
        require_one_of(self, "objective", (*FORMS, "exact", "concrete"))
        require_one_of(self, "count_prior", ("learned", "odds"))
        require_one_of(self, "where_prior", ("learned", "fixed"))
        require_one_of(self, "decoder", ("scaled", "sigmoid"))
        if self.convolutional and self.glimpse % 4:
            raise ValueError(f"glimpse: got {self.glimpse}, needs a multiple of 4: it is enlarged twice by 2")

    @property
    def narrow(self) -> int:
        """Units of the narrower layers."""
        return self.hidden // 2


@dataclass(frozen=True)
class Sequence(Scene, ABC):
    """Settings of what is carried on from frame to frame."""

    alone: ClassVar[bool] = True
    """Of one frame it learns what AIR does."""
    generates: ClassVar[bool] = True

    propagation_bias: float = 5.0
    """Bias of the logits of presence of objects that were there, at first; 0 lets every frame discover all anew."""
    prior_bias: float = 10.0
    """The same of their prior; it stays."""
    later_log_odds: float = -10.0
    """With odds: their logarithm after the first frame, at most."""
    propagation_prior: str = "absolute"
    """Means of what is expected of an object: absolute, as released; or residual, departure: as it was, and a bit. It
    is then also found where it was, at first."""
    covariance: str = "full"
    """Of where an object has gone: full, as released; or diagonal, as the paper says."""
    truncate: bool = False
    """No more new objects than there are free slots, as the paper has it; else they are dropped, yet paid for, as
    released. Where no count is drawn (exact, concrete) it is so in any case."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(self, "propagation_prior", ("absolute", "residual"))
        require_one_of(self, "covariance", ("full", "diagonal"))
