"""What can be chosen of models that infer by iteration."""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

from model.bounds import require_at_least, require_one_of
from model.interface import ModelConfig
from model.iterative.grid import SCHEDULES, Grid, grid

LIKELIHOODS = ("mixture", "mixture-channels", "mean")


@dataclass(frozen=True)
class Refining(ModelConfig, ABC):
    """Settings of slots, of what they draw, and of how they are refined."""

    compiles: ClassVar[bool] = True
    temporal: ClassVar[bool] = False
    """Whether a frame is refined in the light of the last state of the frame before."""

    size: int = 64
    """Side of the frames, pixels."""
    channels: int = 3
    """Colours of a frame: 1 grey, 3 RGB."""
    slots: int = 5
    """Objects of a frame, the background among them."""
    latent: int = 64
    """Numbers of a slot's latent."""
    hidden: int = 128
    """Units of the recurrence and of what reads maps."""
    decodes: int = 6
    """Times that a frame is drawn, the paper's R; between two of them its slots are refined."""
    likelihood: str = "mixture"
    """Of a pixel: mixture of the slots' normals; mixture-channels, one of each colour, as released; or mean,
    departure: one normal about what the slots mix to."""
    variance: float = 0.3
    """Of a colour of a pixel, given its slot; with mean, given the mix."""
    likelihood_weight: float = 100.0
    """Of the negative log-likelihood in the loss."""
    kl_weight: float = 10.0
    """Of the divergence of posteriors from priors."""
    entropy_weight: float = 0.0
    """Of the entropy of masks, summed over pixels; the paper has .1 for binary data."""
    weights: str = "relative"
    """Of a frame's drawings: relative, from 0 for the first to 1 for the last; or released, their number as a share
    of decodes, so that frames with few count less."""
    noise: str = "each"
    """What is drawn in training: each, for every drawing, but the same for the first ones of a clip's frames; or once,
    departure: for a clip."""
    start_deviation: float = 1.0
    """Standard deviation of the posterior that slots start from, at first; it is learned."""
    decoder: str = "broadcast"
    """How slots are drawn: broadcast to all pixels, four convolutions; or subpixel, departure: to a quarter of them,
    with learned positions, three convolutions of which two enlarge."""
    decoder_width: int = 64
    """Channels of its convolutions."""
    decoder_hidden: int = 64
    """Units of a layer between latents and the decoder's maps; 0 = none."""
    activation: str = "elu"
    """Between layers: elu, or silu (departure; on CPUs it takes a quarter of the time)."""
    maps: int = 64
    """Channels of the convolutions that read maps."""
    strides: tuple[int, ...] = (1, 1, 1, 1)
    """Of these convolutions, 3x3 each."""
    pool: int = 4
    """Side of the squares over which their last maps are averaged."""
    gradients: bool = True
    """Gradients of the loss are among what the refinement sees."""
    normalised: bool = True
    """They, and the likelihood of pixels, have mean 0 and variance 1 over a slot."""
    mask_gradient: str = "mask"
    """What the gradient of masks is taken by: mask, as released; or logit, as IODINE's is."""
    primed: bool = False
    """Departure: at first the recurrence remembers, corrects nine times as much, and latents count as if there was no
    state beside them; and it sees logits of masks as data, scaled down."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "channels", "slots", "latent", "hidden", "decoder_width", "maps", "pool")
        require_at_least(self, 8, "size")
        require_at_least(self, 2, "decodes")
        require_at_least(self, 0, "kl_weight", "entropy_weight", "decoder_hidden")
        require_at_least(self, 1e-6, "variance", "start_deviation", "likelihood_weight")
        require_one_of(self, "likelihood", LIKELIHOODS)
        require_one_of(self, "weights", ("relative", "released"))
        require_one_of(self, "noise", ("each", "once"))
        require_one_of(self, "decoder", ("broadcast", "subpixel"))
        require_one_of(self, "activation", ("elu", "silu"))
        require_one_of(self, "mask_gradient", ("mask", "logit"))
        if self.decoder == "subpixel" and self.size % 4:
            raise ValueError(f"size: got {self.size}, needs a multiple of 4 with decoder=subpixel")
        if not self.strides or min(self.strides) < 1:
            raise ValueError(f"strides: got {list(self.strides)}, needs numbers from 1 up")
        if self.side < 1:
            raise ValueError(f"pool: got {self.pool}, but the maps are smaller by then")

    @property
    def side(self) -> int:
        """Side of the maps that are left of a frame."""
        side = self.size
        for stride in self.strides:
            side = -(-side // stride)
        return side // self.pool

    def grid(self, frames: int) -> Grid:
        """The cells of a clip of so many frames."""
        return grid(frames, self.decodes, "constant", self.weights)


@dataclass(frozen=True)
class OverTime(Refining, ABC):
    """Settings of models that carry something on from frame to frame."""

    alone: ClassVar[bool] = True

    schedule: str = "triangular"
    """Drawings of a frame: triangular, one less for each frame, down to two; constant; or first: two but for the
    first frame."""
    carried: bool = False
    """Departure: the posterior of a slot starts as it was in the last frame, and not anew."""
    prior: str = "conditional"
    """What is expected of a slot, from the last state of the frame before: conditional; released, with variances from
    1 up; or standard: normal, of variance 1, as in the first frame."""
    conditional: bool = True
    """That state is given to the decoder too."""
    last_refinement: bool = True
    """Slots are refined after the last drawing too, for the state alone, as released and not in the paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(self, "schedule", SCHEDULES)
        require_one_of(self, "prior", ("conditional", "released", "standard"))

    def grid(self, frames: int) -> Grid:
        """See Refining."""
        return grid(
            frames, self.decodes, self.schedule, self.weights, carried=self.carried, last=self.last_refinement
        )
