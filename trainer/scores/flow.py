"""How well dense flow follows what is seen: by the true motion of objects, and by the frames that it makes."""

import torch
from jaxtyping import Float
from torch import Tensor

from model.interface import Video, Views
from model.ops.flow import warp_by_flow


def flow_error(views: Views, video: Video) -> Float[Tensor, "b f hw"]:
    """End-point error in pixels: the flow into a frame, against the way the object at each pixel has just come.

    NaN where the frame shows no object: a dark background moves any way it likes.
    """
    assert views.flow is not None
    assert video.truth is not None
    assert video.truth.visible_ids is not None
    steps = views.flow.shape[1]
    difference = views.flow.double() - true_flow(video)[:, -steps:]
    error: Tensor = torch.linalg.vector_norm(difference, dim=2)
    nothing = video.truth.visible_ids[:, -steps:] == 0
    return error.masked_fill(nothing, torch.nan).flatten(2)


def warp_error(views: Views, video: Video) -> Float[Tensor, "b f c h w"]:
    """Squared error of each frame as made from the frame before by the flow alone, for want of truth.

    The brightness of what moves is taken to stay (as flow always is); from outside the frame comes black. Without
    flow it is the error of copying.
    """
    assert views.flow is not None
    steps = views.flow.shape[1]
    before, frames = video.frames[:, -steps - 1 : -1], video.frames[:, -steps:]
    return (warp_by_flow(before, -views.flow.float()) - frames).double().square()


def true_flow(video: Video) -> Float[Tensor, "b f 2 h w"]:
    """Views.flow as it truly is, into all frames but the first: the motion of the object that a pixel shows, else 0."""
    truth = video.truth
    assert truth is not None
    assert truth.visible_ids is not None
    assert truth.velocities is not None
    ids = truth.visible_ids[:, 1:, None].flatten(3)
    motion = truth.velocities[:, :-1].transpose(2, 3)
    flow = torch.take_along_dim(motion, (ids - 1).clamp(min=0), dim=3) * (ids > 0)
    return flow.reshape(*flow.shape[:3], *video.frames.shape[-2:])
