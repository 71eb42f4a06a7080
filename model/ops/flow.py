"""Dense flow fields, (x, y) in pixels: x to the right, y down.

Sampling is *backward*: each output pixel asks where it comes from, so `warp_by_flow` wants the flow on the grid of the
output. Two consequences that are easy to get wrong:

- True flow F of a pair, as files give it, lives on the grid of frame t and points to t + 1. Frame t + 1 warped by F is
  frame t, exactly where nothing is hidden. Frame t warped by -F approximates frame t + 1, and is wrong near the edges
  of what moves.
- A network that makes frame t + 1 by sampling frame t (arXiv 1511.06309, eq. 3) predicts *minus* the motion.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from model.ops.spatial_transformer import pixel_centres, sample


def warp_by_flow(
    images: Float[Tensor, "*n c h w"], flow: Float[Tensor, "*n 2 h w"]
) -> Float[Tensor, "*n c h w"]:
    """Grid generator and bilinear sampler: output(p) = images(p + flow(p)), zeros outside the frame.

    In float32 whatever the inputs: half-precision coordinates move pixels. The result has the dtype of `images`.
    """
    height, width = images.shape[-2:]
    pixel = torch.tensor([2 / width, 2 / height], device=flow.device)  # in the sampler's normalised units
    points = (
        pixel_centres(height, width, like=flow) + flow.reshape(-1, 2, height, width).movedim(1, -1) * pixel
    )
    return sample(images.reshape(-1, *images.shape[-3:]), points).reshape(images.shape)


def enlarge(flow: Float[Tensor, "*n 2 h w"], factor: int) -> Float[Tensor, "*n 2 h2 w2"]:
    """The flow of a frame `factor` times as large: vectors repeated (nearest) and as many times as long."""
    height, width = flow.shape[-2:]
    large = F.interpolate(flow.reshape(-1, 2, height, width), scale_factor=factor, mode="nearest") * factor
    return large.reshape(*flow.shape[:-2], height * factor, width * factor)
