"""What can be chosen of the object-discovery model; the defaults are the paper's scale (section 4)."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from model.ops.spatial_transformer import PARAMETERS
from model.remat import Remat
from model.schedule import Ramp

if TYPE_CHECKING:
    from model.object_discovery.model import ObjectDiscovery

CHOICES = {"motion": tuple(PARAMETERS), "memory": ("own", "unoccluded")}


@dataclass(frozen=True)
class Config:
    """The paper gives size, slots, losses and the optimiser; every other number is a choice of this project.

    Fields that depart from the paper are off by default and say so.
    """

    size: int = 64  # side of the frames in pixels
    channels: int = 3  # of the frames: 3 or 1
    slots: int = 3  # K, the most objects that can be told apart

    # F1. The recurrence runs at size / stem_stride.
    width: int = 32
    hidden: int = 32
    kernel: int = 5
    blocks: int = 2
    stem_stride: int = 1
    mask_bias: float = 0.0  # logit at which every mask starts; with tracking, about -5, what changes adds 6
    frame_difference: bool = False  # departure: f_t - f_{t-1} is a further input of F1 and F3
    tracking: bool = False  # departure: F1 is led to what changes, and to where each slot is expected

    # S: alpha anneals from soft to nearly binary.
    alpha: Ramp = field(default=Ramp(4.0, 12.0, 10_000))
    beta: float = 0.5

    # F2 and F3.
    reader_width: int = 32  # channels of the CNNs that read a slot
    reader_hidden: int = 64
    temperature: Ramp = field(default=Ramp(1.0, 0.3, 10_000))  # tau of Gumbel-Sinkhorn
    sinkhorn_iterations: int = 20
    noise: float = 1.0  # scale of the Gumbel noise in training; never in eval
    motion: str = "affine"  # translation, affine, projective
    shift_bound: float = 0.5  # greatest translation per frame; 2 = the frame
    shape_bound: float = 0.1  # greatest change of every other entry of the matrix

    # F4 and F5.
    memory: str = "own"  # which pixels refresh a slot's colours: own, unoccluded (see memory.py)
    background_width: int = (
        16  # channels of F5; 0 = departure: no network, holes keep what was last seen there
    )

    # Eq. 17; lambda_5 is the optimiser's weight decay (2 * lambda_5).
    reconstruction: float = 1.0
    consistency: float = 1.0
    sparsity: Ramp = field(default=Ramp(0.0, 0.01, 5_000, 1_000))
    compactness: Ramp = field(default=Ramp(0.0, 0.02, 5_000, 1_000))
    change_weight: float = 1.0  # departure: weight of the pixels that change, in both errors; 1 = off

    remat: str = "none"  # none, every:N, sqrt, bytes:N

    def __post_init__(self) -> None:
        for name, least in (
            ("channels", 1), ("slots", 1), ("hidden", 1), ("blocks", 0), ("sinkhorn_iterations", 1),
            ("reader_width", 1), ("reader_hidden", 1), ("background_width", 0), ("noise", 0),
            ("reconstruction", 0), ("consistency", 0), ("change_weight", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name}: got {getattr(self, name)}, needs at least {least}")
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are {', '.join(allowed)}")
        if self.width < 4 or self.width % 4:
            raise ValueError(f"width: got {self.width}, needs a multiple of 4 for the position encoding")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel: got {self.kernel}, needs an odd number")
        if self.tracking and not self.frame_difference:
            raise ValueError("tracking: got True, needs frame_difference True: it follows what changes")
        if self.stem_stride not in (1, 2, 4):
            raise ValueError(f"stem_stride: got {self.stem_stride}, allowed are 1, 2, 4")
        if self.halvings < 1 or not 3 <= self.size >> self.halvings <= 7 or self.size % self.stem_stride:
            raise ValueError(
                f"size: got {self.size}, needs 3 to 7 times a power of two, at least 8, as 32, 48 or 64"
            )
        if not 0 < self.beta < 1:
            raise ValueError(f"beta: got {self.beta}, needs to be between 0 and 1")
        for name in ("shift_bound", "shape_bound"):
            if not 0 < getattr(self, name) <= 2:
                raise ValueError(
                    f"{name}: got {getattr(self, name)}, needs to be in (0, 2]; 2 is the whole frame"
                )
        self.alpha.require("alpha", 1e-3)
        self.temperature.require("temperature", 1e-2)
        self.sparsity.require("sparsity", 0.0)
        self.compactness.require("compactness", 0.0)
        Remat.parse(self.remat)

    @property
    def halvings(self) -> int:
        """How often the readers of slots halve the frame: down to at most 7 pixels."""
        count = 0
        while self.size >> count > 7 and not (self.size >> count) % 2:
            count += 1
        return count

    def build(self) -> "ObjectDiscovery":
        """The model, randomly initialised from torch's default generator."""
        from model.object_discovery.model import ObjectDiscovery

        return ObjectDiscovery(self)
