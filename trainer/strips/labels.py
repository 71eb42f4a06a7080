"""Classes of pixels as rows of pictures, in CamVid's usual colours."""

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from model.interface import Video, Views
from trainer.pictures.picture import Picture, Strip

# Sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist; further classes start again.
COLOURS = np.array(
    [[128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222], [128, 128, 0],
     [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192]], dtype=np.uint8,
)  # fmt: skip
UNKNOWN = np.zeros(3, np.uint8)


def label_strips(views: Views, video: Video) -> list[Strip]:
    """The rows that the views (and the truth) of one clip allow: true, found and carried labels."""
    rows = []
    if video.truth is not None and video.truth.labels is not None:
        about = "the class of each pixel; black has none, and is not scored"
        rows.append(Strip("true labels", about, coloured(video.truth.labels[0]), place="view"))
    if views.labels is not None:
        found = coloured(likeliest(views.labels[0]))
        rows.append(Strip("found labels", "the likeliest class of each pixel", found, place="film"))
    if views.carried_labels is not None:
        about = "those found in the frame before, moved by the flow; black came from outside the frame"
        carried = coloured(likeliest(views.carried_labels[0]))
        rows.append(Strip("labels carried over", about, carried, place="view"))
    return rows


def likeliest(probabilities: Float[Tensor, "t classes h w"]) -> Int[Tensor, "t h w"]:
    """The class of each pixel, -1 where less than half of it is known (flow from outside brings zeros)."""
    return probabilities.argmax(1).masked_fill(probabilities.sum(1) < 0.5, -1)


def coloured(labels: Int[Tensor, "t h w"]) -> list[Picture]:
    """Pictures of labels; -1 is black."""
    values = labels.cpu().numpy()
    return list(np.where(values[..., None] < 0, UNKNOWN, COLOURS[values % len(COLOURS)]))
