"""Boxes: where the views say, in the colour of who is in them, beside the truth."""

from dataclasses import replace

import numpy as np
import torch

from model.interface import Truth, Video, Views
from trainer.pictures.picture import PALETTE
from trainer.strips.boxes import box_strips, sample_strip

BOXES = torch.tensor([[[2.0, 4, 10, 12], [16, 16, 28, 24]], [[16, 16, 28, 24], [3, 4, 11, 12]]])[None]
VIEWS = Views(
    boxes=BOXES,
    presence=torch.tensor([[[1.0, 0], [0.9, 0.8]]]),
    identities=torch.tensor([[[1, 0], [2, 1]]]),
)


def outlined(picture: np.ndarray, colour: np.ndarray) -> list[int] | None:
    """x0 y0 x1 y1 of the pixels of a colour, in pixels of the frame."""
    rows, columns = np.nonzero((picture == colour).all(-1))
    scale = picture.shape[0] // 32
    return (
        [int(v) // scale for v in (columns.min(), rows.min(), columns.max(), rows.max())]
        if len(rows)
        else None
    )


def test_an_object_keeps_its_colour_whatever_slot_it_is_in() -> None:
    (row,) = box_strips(VIEWS, Video(torch.zeros(1, 2, 1, 32, 32)))
    first, second = row.pictures
    assert first.shape == (256, 256, 3)
    assert outlined(first, PALETTE[0]) == [2, 4, 10, 12]
    assert outlined(second, PALETTE[0]) == [3, 4, 11, 12]
    assert outlined(second, PALETTE[1]) == [16, 16, 28, 24]
    assert outlined(first, PALETTE[1]) is None  # absent


def test_without_identities_colours_are_those_of_slots() -> None:
    views = replace(VIEWS, identities=None, presence=None)
    (row,) = box_strips(views, Video(torch.zeros(1, 2, 1, 32, 32)))
    assert outlined(row.pictures[0], PALETTE[1]) == [16, 16, 28, 24]


def test_true_boxes_are_white_where_the_object_exists() -> None:
    truth = Truth(boxes=torch.tensor([20.0, 2, 30, 9]).expand(1, 2, 1, 4), exists=torch.tensor([[[1], [0]]]))
    (row,) = box_strips(VIEWS, Video(torch.zeros(1, 2, 1, 32, 32), truth))
    white = np.array([255, 255, 255])
    assert outlined(row.pictures[0], white) == [20, 2, 30, 9]
    assert outlined(row.pictures[1], white) is None


def test_samples_show_their_own_frames() -> None:
    frames = torch.zeros(1, 2, 1, 32, 32)
    frames[0, 1] = 0.5
    row = sample_strip(replace(VIEWS, prediction=frames), 1)
    assert [int(picture[-1, -1, 0]) for picture in row.pictures] == [0, 128]
    assert "1 object" in row.about
