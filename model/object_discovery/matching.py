"""Where each slot went: its memory is looked for in the new frame, before anything is decided there.

Not in the paper, whose slots are expected where F3 has moved them. F3 learns to move what masks hold, and masks hold
what is expected of them: where neither is right yet, neither learns. A shift that is measured breaks the circle, and
needs no mask that is right to the pixel. No gradient flows through it.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

STEADY = 0.003  # what a pixel further from where a slot is expected has to explain better, in squared colour
FEW = 8.0  # pixels: of less than that, hardly anything is told


@torch.no_grad()
def matched_shift(
    template: Float[Tensor, "b k c h w"],
    weights: Float[Tensor, "b k h w"],
    frame: Float[Tensor, "b c h w"],
    reach: int,
) -> Float[Tensor, "b k 2"]:
    """How far (x, y), in pixels, the `template` of each slot lies from where the `frame` shows it.

    argmin over whole shifts d, none further than `reach` along an axis, of

        sum_p w(p) |frame(p + d) - template(p)|^2 / (sum_p w(p) + FEW)  +  STEADY |d|^2,

    made finer by the parabola through its neighbours. Black lies outside the frame.

    Args:
        template: each slot's colours where it is expected.
        weights: how much of each pixel is expected to be seen.
        frame: to look in.
        reach: in pixels, at least 1.
    """
    error = _mean_errors(template, weights, frame, reach)
    steps = torch.arange(-reach, reach + 1, device=frame.device)
    error = error + STEADY * (steps.square()[:, None] + steps.square())
    side = len(steps)
    best = error.flatten(2).argmin(-1)
    row, column = best // side, best % side
    # Infinite outside: a shift at the border is no minimum, and is left whole.
    padded = F.pad(error, (1, 1, 1, 1), value=torch.inf).flatten(2)

    def at(row: Tensor, column: Tensor) -> Tensor:
        return padded.gather(2, ((row + 1) * (side + 2) + column + 1)[..., None])[..., 0]

    here = at(row, column)
    x = _vertex(at(row, column - 1), here, at(row, column + 1))
    y = _vertex(at(row - 1, column), here, at(row + 1, column))
    return torch.stack([column - reach + x, row - reach + y], -1)


def _mean_errors(
    template: Float[Tensor, "b k c h w"],
    weights: Float[Tensor, "b k h w"],
    frame: Float[Tensor, "b c h w"],
    reach: int,
) -> Float[Tensor, "b k d d"]:
    """The first term for every shift, rows along y: w t^2 - 2 w t f + w f^2, correlated by Fourier transforms."""
    size = [side + 2 * reach for side in frame.shape[-2:]]
    shown = torch.cat([frame, frame.square().sum(1, keepdim=True)], 1)[:, None]
    sought = torch.cat([-2 * weights[:, :, None] * template, weights[:, :, None]], 2)
    product = torch.fft.rfft2(shown, s=size) * torch.fft.rfft2(sought, s=size).conj()
    steps = torch.arange(-reach, reach + 1, device=frame.device)
    correlation: Tensor = torch.fft.irfft2(product.sum(2), s=size)[..., steps, :][..., steps]
    alone = (weights[:, :, None] * template.square()).sum((2, 3, 4))
    return (correlation + alone[..., None, None]) / (weights.sum((-1, -2)) + FEW)[..., None, None]


def _vertex(before: Tensor, here: Tensor, after: Tensor) -> Tensor:
    """Where the parabola through three values is least, from the middle one, in [-1/2, 1/2]."""
    curvature = before + after - 2 * here
    fraction = (before - after) / 2 / curvature.clamp(min=1e-9)
    vertex: Tensor = torch.where(curvature.isfinite(), fraction, 0.0)
    return vertex.clamp(-0.5, 0.5)
