"""STRIPS: the rows of pictures that a model's views of a clip allow, in reading order.

A strip is a function of (Views, Video); to add one, write it beside its like and give it a row here.
"""

from collections.abc import Callable

from model.interface import Video, Views
from trainer.pictures.picture import Strip
from trainer.strips.boxes import box_strips
from trainer.strips.flow import flow_strips
from trainer.strips.frames import frame_strips
from trainer.strips.labels import label_strips
from trainer.strips.refinements import refinement_strips
from trainer.strips.slots import object_strips, slot_strips

STRIPS: dict[str, Callable[[Views, Video], list[Strip]]] = {
    "frames": frame_strips,
    "flow": flow_strips,
    "objects": object_strips,
    "boxes": box_strips,
    "labels": label_strips,
    "slots": slot_strips,
    "refinements": refinement_strips,
}


def strips(views: Views, video: Video) -> list[Strip]:
    """All rows that the views (and the truth) of one clip allow, in reading order.

    Args:
        views: of a batch of one clip.
        video: the same clip.
    """
    return [row for rows in STRIPS.values() for row in rows(views, video)]
