"""What slots remember of what they cannot see: the colours of hidden parts."""

import torch
from jaxtyping import Float
from torch import Tensor

from model.interface import Video, Views
from trainer.scores.matching import EMPTY, match, take, truth_of
from trainer.scores.objects import LEAST_PIXELS, hidden_parts
from trainer.scores.prediction import MSE_FLOOR


def memory_psnr(views: Views, video: Video) -> Float[Tensor, "b s n"]:
    """PSNR in dB of the slot's memory against the object's colour, over the truly hidden pixels.

    Where 5 px or more are hidden and a slot stands for the object.
    """
    assert views.slot_frames is not None
    truth, slots = truth_of(video), match(views, video)
    assert truth.colours is not None
    hidden = hidden_parts(views, video)
    pixels = hidden.flatten(3).sum(3)
    colours = truth.colours[:, None, :, :, None, None].double()
    error = (take(views.slot_frames, slots).double() - colours).square().mean(dim=3)
    error = (error * hidden).flatten(3).sum(3) / pixels
    counted = (pixels >= LEAST_PIXELS) & (slots != EMPTY)[:, None]
    return (-10 * torch.log10(error.clamp(min=MSE_FLOOR))).masked_fill(~counted, torch.nan)
