"""How well slots know where their object goes: the motion of the true centre, and what is not translation."""

import torch
from jaxtyping import Float
from torch import Tensor

from model.interface import Video, Views
from model.ops.spatial_transformer import move_points
from trainer.scores.matching import EMPTY, exists, match, take, truth_of


def motion_error(views: Views, video: Video) -> Float[Tensor, "b s n"]:
    """End-point error in pixels: where the motion takes the true centre, against where it truly goes.

    The translation entries are not compared: with a linear part they depend on the distance from the
    image centre. Objects without a slot and steps into frames that the clip does not have do not count.
    """
    truth, slots = truth_of(video), match(views, video)
    assert truth.centres is not None
    assert truth.velocities is not None
    steps = take_motion(views, video).shape[1]
    motion = take(take_motion(views, video), slots)
    centres = truth.centres[:, :steps].double()
    moved = move_points(motion, centres)
    error: Tensor = torch.linalg.vector_norm(moved - centres - truth.velocities[:, :steps], dim=-1)
    return error.masked_fill(~_counted(views, video), torch.nan)


def motion_deformation(views: Views, video: Video) -> Float[Tensor, "b s n"]:
    """Frobenius norm of A - I, the motion's linear part in pixel coordinates; 0 = pure translation."""
    motion = take(take_motion(views, video), match(views, video))
    linear = motion[..., :2, :2] / motion[..., 2:, 2:]
    eye = torch.eye(2, dtype=motion.dtype, device=motion.device)
    norm: Tensor = torch.linalg.matrix_norm(linear - eye)
    return norm.masked_fill(~_counted(views, video), torch.nan)


def take_motion(views: Views, video: Video) -> Float[Tensor, "b s k 3 3"]:
    """`views.motion` in pixel coordinates (pixel centres at integer + 0.5), for frames with a successor."""
    assert views.motion is not None
    height, width = video.frames.shape[-2:]
    to_unit = torch.tensor([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]], dtype=torch.float64)
    to_unit = to_unit.to(views.motion.device)
    motion = views.motion[:, : video.frames.shape[1] - 1].double()
    to_pixels: Tensor = torch.linalg.inv(to_unit)
    return to_pixels @ motion @ to_unit


def _counted(views: Views, video: Video) -> Tensor:
    """Objects that exist and have a slot, at every step: b s n."""
    steps = take_motion(views, video).shape[1]
    has_slot = exists(video) & (match(views, video) != EMPTY)
    return has_slot[:, None].expand(-1, steps, -1)
