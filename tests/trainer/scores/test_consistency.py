"""Frames composed over gaps of time."""

from dataclasses import replace
from typing import Literal

import pytest
import torch

from model.interface import Video, Views
from tests.trainer.squares import squares
from trainer.evaluation.references import oracle
from trainer.scores import SCORES
from trainer.scores.consistency import over_gap


def test_gaps_count_every_pair_of_frames_once() -> None:
    """Four decomposed frames of five: gap 2 reaches frames 3 to 5 forwards and 1 to 2 backwards, and so on."""
    video = squares()
    views = oracle(video)
    forward, backward = (SCORES[f"{way}_psnr"].measure(views, video) for way in ("forward", "backward"))
    assert (~forward.isnan()).sum(dim=2).tolist() == [[3, 2, 1, 0, 0, 0, 0, 0]]
    assert (~backward.isnan()).sum(dim=2).tolist() == [[2, 1, 0, 0, 0, 0, 0, 0]]
    assert forward[0, 2, 0] > 40, "the longest gap leads to the last frame"
    cut = Video(video.frames[:, :4], video.truth)  # all frames decomposed, and none after the last
    assert (~SCORES["forward_psnr"].measure(views, cut).isnan()).sum(dim=2).tolist()[0][:3] == [2, 1, 0]
    still = replace(views, motion=torch.eye(3).expand(1, 4, 2, 3, 3))
    assert SCORES["forward_psnr"].measure(still, video).nanmean() < 20


def test_motions_over_a_gap_are_applied_in_the_order_of_time() -> None:
    """A quarter turn and then a shift is not a shift and then a quarter turn."""
    turn, shift = torch.eye(3), torch.eye(3)
    turn[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # x -> y: clockwise on the screen
    shift[0, 2] = 4 * 2 / 20  # 4 px to the right
    square = torch.zeros(20, 20)
    square[9:11, 15:17] = 1  # right of the middle; turned it is below, then shifted right of that
    expected = torch.zeros(20, 20)
    expected[15:17, 9 + 4 : 11 + 4] = 1
    views = Views(
        amodal_masks=square.expand(1, 3, 1, 20, 20),
        slot_frames=torch.ones(1, 3, 1, 1, 20, 20),
        background=torch.zeros(1, 3, 1, 20, 20),
        depth_order=torch.ones(1, 3, 1, 1),
        motion=torch.stack([turn, shift, torch.eye(3)])[None, :, None],
    )
    torch.testing.assert_close(over_gap(views, 2, "forward")[0, 0, 0], expected, atol=1e-4, rtol=0)
    back = replace(views, amodal_masks=expected.expand(1, 3, 1, 20, 20))
    torch.testing.assert_close(over_gap(back, 2, "backward")[0, 0, 0], square, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("direction", "index", "used"), [("forward", 0, 1), ("forward", 1, 2), ("backward", 1, 2)]
)
def test_the_order_next_to_the_target_is_used(
    direction: Literal["forward", "backward"], index: int, used: int
) -> None:
    """P_{t2-1} forwards and P_{t1+1} backwards: two masks that stay on top of each other change places in time."""
    ones = torch.ones(1, 4, 2, 8, 8)
    second_in_front = torch.eye(2).flip(1).repeat(1, 4, 1, 1)
    second_in_front[:, used] = torch.eye(2)
    colours = torch.tensor([0.25, 0.75]).view(1, 1, 2, 1, 1, 1).expand(1, 4, 2, 1, 8, 8)
    views = Views(
        amodal_masks=ones,
        slot_frames=colours,
        background=torch.zeros(1, 4, 1, 8, 8),
        depth_order=second_in_front,
        motion=torch.eye(3).expand(1, 4, 2, 3, 3),
    )
    shown = over_gap(views, 2, direction)[0, :, 0, 4, 4]
    assert [value == 0.25 for value in shown.tolist()] == [i == index for i in range(len(shown))]
