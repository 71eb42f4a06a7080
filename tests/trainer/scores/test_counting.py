"""Counts against true counts, and objects that are found once or again and again."""

import torch

from model.interface import Truth, Video, Views
from trainer.scores import SCORES

FRAMES = torch.zeros(2, 3, 1, 4, 4)


def test_counts_are_right_where_they_are_the_true_ones() -> None:
    """Two objects, of which one comes in frame 2; padding does not count, nor what is less likely than not."""
    presence = torch.tensor(
        [[[0.9, 0.1, 0.0], [1.0, 0.6, 0.0], [1, 1, 1]], [[0.0, 0, 0], [0, 0, 0], [0, 0, 0.7]]]
    )
    exists = torch.tensor([[[1, 0], [1, 1], [1, 1]], [[1, 1], [1, 1], [1, 1]]])
    truth = Truth(present=torch.tensor([[1, 1], [0, 0]]), exists=exists)
    values = SCORES["count_accuracy"].measure(Views(presence=presence), Video(FRAMES, truth))
    assert values.tolist() == [[1, 1, 0], [1, 1, 0]]
    without = Video(FRAMES, Truth(present=truth.present))
    assert SCORES["count_accuracy"].measure(Views(presence=presence), without)[0].tolist() == [0, 1, 0]


def test_what_is_found_again_is_told_from_what_is_kept() -> None:
    kept = torch.tensor([[1, 2, 0], [2, 1, 0], [2, 0, 0]])
    anew = torch.tensor([[1, 2, 0], [3, 4, 0], [3, 5, 6]])
    values = SCORES["discovered_later"].measure(Views(identities=torch.stack([kept, anew])), Video(FRAMES))
    assert values[:, 0].isnan().all()
    assert values[:, 1:].tolist() == [[0, 0], [2, 2]]
    assert not SCORES["discovered_later"].higher_is_better
