"""How well a decomposition explains frames further away, both ways in time: what the cyclic loss trains.

Frame t2 is composed from the masks and memories of t1 and the motion in between, or t1 from t2 by the inverse
(equations 21 to 25 of arXiv 2103.05669), and compared with the true frame.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from model.interface import Video, Views
from model.ops.cycle import Direction, Layers, paths, reproject
from trainer.scores.prediction import peak_signal_to_noise

GAPS = range(2, 10)  # frames between t1 and t2; a gap of 1 is the prediction itself


def forward_psnr(views: Views, video: Video) -> Float[Tensor, "b gap t"]:
    """PSNR in dB of frames `gap` steps later; axis 1 counts gaps from 2, axis 2 the frames started from."""
    return _over_gaps(views, video, "forward")


def backward_psnr(views: Views, video: Video) -> Float[Tensor, "b gap t"]:
    """PSNR in dB of frames `gap` steps earlier."""
    return _over_gaps(views, video, "backward")


def over_gap(views: Views, gap: int, direction: Direction) -> Float[Tensor, "b pairs c h w"]:
    """Frames composed over `gap` steps: targets gap, gap + 1, ... forward, or 0, 1, ... backward."""
    assert views.amodal_masks is not None
    assert views.slot_frames is not None
    assert views.background is not None
    assert views.depth_order is not None
    assert views.motion is not None
    layers = Layers(views.amodal_masks, views.slot_frames, views.background, views.depth_order, views.motion)
    # The last motion leads to frame `steps`.
    steps = views.amodal_masks.shape[1]
    pairs = steps + 1 - gap if direction == "forward" else steps - gap
    starts = range(pairs)
    return reproject(layers, paths(layers.motion, starts, gap), starts, gap, direction)


def _over_gaps(views: Views, video: Video, direction: Direction) -> Float[Tensor, "b gap t"]:
    assert views.amodal_masks is not None
    frames = video.frames
    steps = views.amodal_masks.shape[1]
    values = frames.new_full((len(frames), len(GAPS), steps), torch.nan, dtype=torch.float64)
    # The last motion leads to the frame after the last decomposed one; backwards, that is no frame to start from.
    longest = steps if direction == "forward" else steps - 1
    for i, gap in enumerate(GAPS):
        if gap > longest:
            break
        made = over_gap(views, gap, direction)
        true = frames[:, gap:] if direction == "forward" else frames
        pairs = min(made.shape[1], true.shape[1])  # a decomposition of all frames has no frame after the last
        values[:, i, :pairs] = peak_signal_to_noise(made[:, :pairs], true[:, :pairs])
    return values
