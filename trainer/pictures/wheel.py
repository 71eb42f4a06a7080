"""Flow as colours, by the wheel of the Middlebury benchmark (Baker et al., 2011): hue is direction, saturation speed.

Still is white, right is red, down yellow, left cyan, up violet; unknown is black.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from trainer.pictures.picture import Picture

# Hues go from each of these colours to the next in so many steps: the eye tells more apart between red and yellow
# than between green and cyan.
CORNERS = np.array([[255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255]])
STEPS = (15, 6, 4, 11, 13, 6)
BEYOND = 0.75  # brightness of what is faster than the fastest


def hues() -> Float64[np.ndarray, "55 3"]:
    """The wheel, once around from red, in [0, 1]."""
    parts = []
    for corner, following, steps in zip(CORNERS, np.roll(CORNERS, -1, 0), STEPS, strict=True):
        share = np.arange(steps)[:, None] / steps
        parts.append(corner + np.trunc((following - corner) * share))
    return np.concatenate(parts) / 255


def flow_picture(flow: Float[Tensor, "2 h w"], fastest: float | None = None) -> Picture:
    """The field in colours.

    Args:
        flow: forward motion in pixels; NaN is drawn black. A network that samples backward (eq. 3 of arXiv
            1511.06309) gives minus the motion: negate it first.
        fastest: the speed of full colour, in pixels; None = the largest of the field. Pictures that are to be
            compared need the same.
    """
    x, y = flow.detach().double().cpu().numpy()
    speed = np.hypot(x, y)
    known = np.isfinite(speed)
    x, y, speed = (np.where(known, values, 0.0) for values in (x, y, speed))
    radius = speed / ((speed.max() if fastest is None else fastest) + 1e-6)
    wheel = hues()
    # 0 + removes the sign of zero: right, the seam of the wheel, is red whichever zero y is.
    place = (np.arctan2(-(0 + y), -x) / np.pi + 1) / 2 * (len(wheel) - 1)
    low = np.floor(place).astype(int)
    part = (place - low)[..., None]
    colour = (1 - part) * wheel[low] + part * wheel[(low + 1) % len(wheel)]
    faded = 1 - radius[..., None] * (1 - colour)
    shown = np.where(radius[..., None] <= 1, faded, colour * BEYOND) * known[..., None]
    picture: Picture = np.floor(255 * shown).astype(np.uint8)
    return picture


def legend(size: int = 151) -> Picture:
    """The wheel itself: each place is coloured by its direction and distance from the middle."""
    offset = torch.arange(size) * 2 / (size - 1) - 1
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    return flow_picture(torch.where(torch.hypot(x, y) <= 1, torch.stack([x, y]), torch.nan), fastest=1.0)
