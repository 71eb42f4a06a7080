"""How well the classes of pixels are found: recall, intersection over union, accuracy, as for CamVid.

Pixels without a label (void) are never counted, neither as right nor as wrong. Values are 1 for a right pixel, 0 for a
wrong one and NaN for one that is not counted, so that sums and counts over all clips give a data set's exact numbers.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from model.interface import Video, Views


def accuracy(views: Views, video: Video) -> Float[Tensor, "b 1 pixels"]:
    """The share of labelled pixels that are right: the papers' "global" recall."""
    true, found, _ = _labelled(views, video)
    return (true == found).float().masked_fill(true < 0, torch.nan)[:, None]


def class_recall(views: Views, video: Video) -> Float[Tensor, "b classes pixels"]:
    """Of the pixels of each class, the share that is found; its mean over classes is the papers' "class average"."""
    true, found, classes = _labelled(views, video)
    right = (true == found).float()[:, None]
    return torch.where(true[:, None] == classes, right, torch.nan)


def class_iou(views: Views, video: Video) -> Float[Tensor, "b classes pixels"]:
    """Of the labelled pixels that are or were said to be of a class, the share that is both."""
    true, found, classes = _labelled(views, video)
    is_class, said = true[:, None] == classes, found[:, None] == classes
    return torch.where((is_class | said) & (true >= 0)[:, None], (is_class & said).float(), torch.nan)


def _labelled(views: Views, video: Video) -> tuple[Tensor, Tensor, Tensor]:
    """True and found classes (b pixels) of the frames that have labels in some clip, and the classes (1 c 1)."""
    assert views.labels is not None
    assert video.truth is not None
    assert video.truth.labels is not None
    steps, classes = views.labels.shape[1:3]
    true = video.truth.labels[:, :steps]
    some = (true >= 0).any(dim=0).flatten(1).any(dim=1)  # mostly one frame of a clip: saves what values take
    found = views.labels[:, some].argmax(dim=2)
    return true[:, some].flatten(1), found.flatten(1), torch.arange(classes, device=true.device)[:, None]
