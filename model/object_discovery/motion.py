"""F3: how each slot moves. A forward homography per slot and frame from two masks and the frame (eq. 7)."""

from abc import ABC
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.bounds import require_at_least, require_one_of
from model.layers.conv import StridedReader
from model.object_discovery.scale import Scale
from model.ops.spatial_transformer import PARAMETERS, centres_of_mass, identity, move_points, near_identity

CENTRES = 4  # numbers that say where the mask is and how its centre moved
STEP = 10.0  # scales shifts per frame to the order of 1


@dataclass(frozen=True)
class Motion(Scale, ABC):
    """Settings of F3."""

    motion: str = "affine"
    """How a slot may move: translation, affine or projective."""
    shift_bound: float = 0.5
    """Greatest translation per frame in normalised units, at most 2, the frame."""
    shape_bound: float = 0.1
    """Greatest change of every other entry of the matrix per frame, at most 2."""
    inertia: bool = False
    """Departure: a slot moves on as its mask's centre has moved, unless F3 says otherwise; at first it rests."""

    matching: int = 0
    """Departure: how far, in pixels, a slot is looked for around where it is expected; 0 = not at all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(self, "motion", PARAMETERS)
        require_at_least(self, 0, "matching")
        for name in ("shift_bound", "shape_bound"):
            if not 0 < getattr(self, name) <= 2:
                raise ValueError(
                    f"{name}: got {getattr(self, name)}, needs to be in (0, 2]; 2 is the whole frame"
                )


class MotionNet(nn.Module):
    """The same CNN and MLP for every slot: [frame, mask, mask before] and the motion before -> motion (eq. 7).

    z = I + bound * tanh(MLP), the last layer starting at zero, so that every motion starts as exactly the identity
    (section 3.2: parameters evolve from identity) and stays near it. Beside the CNN's features the MLP sees the
    centres of mass of the two masks, which a strided CNN would have to measure to a fraction of a pixel: a function of
    the same inputs, so eq. 7 holds.
    """

    def __init__(self, config: Motion) -> None:
        super().__init__()
        numbers = PARAMETERS[config.motion]
        self.inertia = config.inertia
        self.matching = config.matching > 0
        self.bounds = [config.shift_bound] * 2 + [config.shape_bound] * (numbers - 2)
        self.reader = StridedReader((config.inputs + 2, *config.reader_widths), config.size)
        self.first = nn.Linear(self.reader.features + 9 + CENTRES, config.reader_hidden)
        self.last = nn.Linear(config.reader_hidden, numbers)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        frame: Float[Tensor, "b c h w"],
        masks: Float[Tensor, "b k h w"],
        masks_before: Float[Tensor, "b k h w"],
        motion_before: Float[Tensor, "b k 3 3"],
    ) -> Float[Tensor, "b k 3 3"]:
        """Forward motion from this frame to the next, float32, normalised units (see model/ops)."""
        slots = masks.shape[1]
        frames = frame[:, None].expand(-1, slots, -1, -1, -1)
        both = torch.stack([masks, masks_before], 2)
        images = torch.cat([both, frames], 2)
        features = self.reader(images.flatten(0, 1)).view(*masks.shape[:2], -1)
        # Squared: a haze of small values over the frame outweighs an object.
        centre, centre_before = centres_of_mass(both.square()).unbind(2)
        shift = (centre - centre_before) * STEP
        past = (motion_before - identity(like=motion_before)).flatten(-2) * STEP
        hidden = torch.relu(self.first(torch.cat([features, past, centre, shift], -1)))
        bounds = torch.tensor(self.bounds, device=frame.device)
        numbers = self.last(hidden).float()
        if self.inertia:
            gone = move_points(motion_before, centre) - centre if self.matching else centre - centre_before
            going = (gone.detach().float() / bounds[:2]).clamp(-0.9, 0.9).atanh()
            numbers = numbers + F.pad(going, (0, len(self.bounds) - 2))
        return near_identity(bounds * torch.tanh(numbers))
