"""Rows of labels: colours, what is black, which rows there are."""

import numpy as np
import torch

from model.interface import Truth, Video, Views
from trainer.strips import strips
from trainer.strips.labels import COLOURS, coloured, likeliest


def test_labels_have_camvids_colours_and_void_is_black() -> None:
    (picture,) = coloured(torch.tensor([[[0, 3], [-1, 8]]]))
    assert picture.tolist() == [[[128, 128, 128], [128, 64, 128]], [[0, 0, 0], [64, 0, 128]]]
    assert len(np.unique(COLOURS, axis=0)) == 11


def test_what_came_from_outside_has_no_label() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.7], [0.0, 0.0], [0.2, 0.1]]).T.reshape(1, 2, 2, 2)
    assert likeliest(probabilities).tolist() == [[[0, 1], [-1, -1]]]


def test_a_clip_gets_the_rows_that_there_are() -> None:
    frames, labels = torch.rand(1, 2, 3, 8, 8), torch.full((1, 2, 8, 8), 3)
    found = torch.rand(1, 2, 11, 8, 8).softmax(2)
    truth = Truth(labels=labels)
    rows = {row.label: row for row in strips(Views(labels=found, carried_labels=found), Video(frames, truth))}
    assert list(rows) == ["frames", "true labels", "found labels", "labels carried over"]
    assert (rows["true labels"].pictures[1] == COLOURS[3]).all()
    assert len(rows["found labels"].pictures) == 2
    assert [row.label for row in strips(Views(labels=found), Video(frames))] == ["frames", "found labels"]
