"""Attention windows: what a frame shows in a box, and a glimpse put back into a frame.

A box is given by four logits `where` = (width, height, x, y): sigmoid of the first two is its size as a share of the
frame, tanh of the others its centre in [-1, 1], where the frame's outermost pixel centres are -1 and 1
(align_corners=True, unlike spatial_transformer.py: it is the convention of AIR and SQAIR).

Bilinear sampling on a grid whose axes are the frame's own is two matrix products, with weights
max(0, 1 - |point - pixel|); outside the frame there is nothing. Always in float32.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LEAST_SIZE = 1e-4  # of a box, so that a glimpse can be put back


def sizes_and_centres(where: Float[Tensor, "*b 4"]) -> tuple[Float[Tensor, "*b 2"], Float[Tensor, "*b 2"]]:
    """Sizes in (0, 1) and centres in (-1, 1), x first. The gradient passes through the least size."""
    size = torch.sigmoid(where[..., :2].float())
    return size + (size.clamp(min=LEAST_SIZE) - size).detach(), torch.tanh(where[..., 2:].float())


def crop(
    images: Float[Tensor, "n c h w"], where: Float[Tensor, "n 4"], side: int
) -> Float[Tensor, "n c g g"]:
    """Glimpses of `side` x `side` pixels."""
    size, centre = sizes_and_centres(where)
    steps = torch.linspace(-1, 1, side, device=images.device)
    points = size[..., None] * steps + centre[..., None]  # n 2 side
    height, width = images.shape[-2:]
    across, down = _weights(points[:, 0], width), _weights(points[:, 1], height)
    with torch.autocast(images.device.type, enabled=False):
        return down[:, None] @ images.float() @ across[:, None].mT


def paste(
    glimpses: Float[Tensor, "n c g g"], where: Float[Tensor, "n 4"], side: int
) -> Float[Tensor, "n c h w"]:
    """Frames of `side` x `side` pixels that show each glimpse in its box, and nothing elsewhere."""
    size, centre = sizes_and_centres(where)
    steps = torch.linspace(-1, 1, side, device=glimpses.device)
    points = (steps - centre[..., None]) / size[..., None]
    pixels = glimpses.shape[-1]
    across, down = _weights(points[:, 0], pixels), _weights(points[:, 1], pixels)
    with torch.autocast(glimpses.device.type, enabled=False):
        return down[:, None] @ glimpses.float() @ across[:, None].mT


def boxes(where: Float[Tensor, "*b 4"], side: int) -> Float[Tensor, "*b 4"]:
    """x0 y0 x1 y1 in pixels of a frame of `side`, pixel centres at integer + 0.5: outermost points of glimpses."""
    size, centre = sizes_and_centres(where)
    scale = (side - 1) / 2
    return torch.cat([centre - size + 1, centre + size + 1], -1) * scale + 0.5


def _weights(points: Float[Tensor, "n p"], pixels: int) -> Float[Tensor, "n p pixels"]:
    places = (points + 1) * ((pixels - 1) / 2)
    return F.relu(1 - (places[..., None] - torch.arange(pixels, device=points.device)).abs())
