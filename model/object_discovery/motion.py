"""F3: how each slot moves. A forward homography per slot and frame from two masks and the frame (eq. 7)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.layers.conv import StridedReader
from model.ops.spatial_transformer import PARAMETERS, identity, near_identity, pixel_centres

CENTRES = 4  # numbers that say where the mask is and how its centre moved
STEP = 10.0  # scales shifts per frame to the order of 1


class MotionNet(nn.Module):
    """The same CNN and MLP for every slot: [frame, mask, mask before] and the motion before -> motion (eq. 7).

    z = I + bound * tanh(MLP), the last layer starting at zero, so that every motion starts as exactly the identity
    (section 3.2: parameters evolve from identity) and stays near it. Beside the CNN's features the MLP sees the
    centres of mass of the two masks, which a strided CNN would have to measure to a fraction of a pixel: a function of
    the same inputs, so eq. 7 holds.

    Args:
        channels: of the frame (and the frame difference where that is used).
        size: side of the frame in pixels.
        kind: translation, affine or projective.
        widths: channels of the CNN, each halving the size.
        hidden: width of the MLP.
        shift_bound: greatest translation per frame in normalised units (2 = the frame).
        shape_bound: greatest change of each other entry per frame.
    """

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        kind: str,
        widths: tuple[int, ...],
        hidden: int,
        shift_bound: float,
        shape_bound: float,
    ) -> None:
        super().__init__()
        self.bounds = [shift_bound] * 2 + [shape_bound] * (PARAMETERS[kind] - 2)
        self.reader = StridedReader((channels + 2, *widths), size)
        self.first = nn.Linear(self.reader.features + 9 + CENTRES, hidden)
        self.last = nn.Linear(hidden, PARAMETERS[kind])
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
        images = torch.cat([masks[:, :, None], masks_before[:, :, None], frames], 2)
        features = self.reader(images.flatten(0, 1)).view(*masks.shape[:2], -1)
        # Squared: a haze of small values over the frame outweighs an object.
        centre, centre_before = centres_of_mass(masks.square()), centres_of_mass(masks_before.square())
        shift = (centre - centre_before) * STEP
        past = (motion_before - identity(like=motion_before)).flatten(-2) * STEP
        hidden = torch.relu(self.first(torch.cat([features, past, centre, shift], -1)))
        bounds = torch.tensor(self.bounds, device=frame.device)
        return near_identity(bounds * torch.tanh(self.last(hidden).float()))


def centres_of_mass(masks: Float[Tensor, "*b h w"], faintest: float = 1e-3) -> Float[Tensor, "*b 2"]:
    """Centres (x, y), normalised; `faintest` of the frame is added to the area, which draws empty masks to 0."""
    height, width = masks.shape[-2:]
    points = pixel_centres(height, width, like=masks)
    area = masks.sum((-1, -2)) + faintest * height * width
    return (masks[..., None] * points).sum((-2, -3)) / area[..., None]
