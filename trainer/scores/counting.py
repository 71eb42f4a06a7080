"""How many objects are known, frame by frame, and whether they are found but once."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.interface import Video, Views
from trainer.scores.matching import exists, truth_of


def count_accuracy(views: Views, video: Video) -> Float[Tensor, "b s"]:
    """1 where as many slots hold an object as there are objects, those out of sight too."""
    assert views.presence is not None
    count = (views.presence > 0.5).sum(2)
    return (count == true_counts(video)[:, : count.shape[1]]).double()


def discovered_later(views: Views, video: Video) -> Float[Tensor, "b s"]:
    """Objects in each frame after the first whose number was not there before; NaN for the first.

    Where all objects are there from the start it should be 0: what counts well and finds everything anew in every
    frame has their number.
    """
    assert views.identities is not None
    highest = views.identities.amax(2).cummax(1).values
    new = (views.identities[:, 1:] > highest[:, :-1, None]).sum(2).double()
    return torch.cat([torch.full_like(highest[:, :1], torch.nan, dtype=torch.float64), new], 1)


def true_counts(video: Video) -> Int[Tensor, "b t"]:
    """Objects that are there in each frame, seen or not."""
    truth = truth_of(video)
    there = exists(video)[:, None].expand(-1, video.frames.shape[1], -1)
    if truth.exists is not None:
        there = there & (truth.exists > 0)
    return there.sum(2)
