"""Flow against true motion and against frames."""

from dataclasses import replace

import pytest
import torch

from model.interface import Video, Views
from tests.trainer.squares import HEIGHT, WIDTH, squares
from trainer.evaluation.references import copy_last
from trainer.scores.flow import flow_error, warp_error


def test_flow_error_is_the_distance_to_where_objects_came_from() -> None:
    """Red goes 3 pixels up a frame, green 3 down: where green is seen, red's motion is 6 off."""
    video = squares()
    flow = torch.tensor([0.0, -3.0])[:, None, None].expand(1, 4, 2, HEIGHT, WIDTH)
    seen = [(video.truth.visible_ids[0, t] == 2).sum() for t in range(1, 5)]
    red = (video.truth.visible_ids[0, 1:] == 1).sum()
    expected = 6 * sum(seen) / (sum(seen) + red)
    assert flow_error(Views(flow=flow), video).nanmean().item() == pytest.approx(expected.item())
    last = flow_error(Views(flow=flow[:, -1:]), video)
    assert last.nanmean().item() == pytest.approx((6 * seen[-1] / (seen[-1] + 36)).item())
    assert flow_error(copy_last(video), video).nanmean().item() == pytest.approx(3)
    still = replace(video.truth, visible_ids=torch.zeros_like(video.truth.visible_ids))
    assert flow_error(Views(flow=flow), Video(video.frames, still)).isnan().all()


def test_warp_error_is_what_flow_leaves_of_the_difference_of_frames() -> None:
    """A ramp that goes 2 pixels to the right a frame: the flow that says so leaves only what came in from outside."""
    ramp = torch.arange(30.0) / 40
    frames = (
        torch.stack([ramp[8 - 2 * t : 24 - 2 * t] for t in range(4)])
        .view(1, 4, 1, 1, 16)
        .expand(-1, -1, 3, 8, -1)
    )
    right = torch.tensor([2.0, 0.0])[:, None, None].expand(1, 3, 2, 8, 16)
    errors = warp_error(Views(flow=right), Video(frames))
    assert errors.shape == (1, 3, 3, 8, 16)
    assert errors[..., 2:].max().item() < 1e-10
    expected = frames[:, 1:, ..., :2].double().square()
    torch.testing.assert_close(errors[..., :2], expected)
    for flow in (right * 0, right[:, -1:] * 0):
        copying = (frames[:, -len(flow[0]) :] - frames[:, -len(flow[0]) - 1 : -1]).double().square()
        torch.testing.assert_close(warp_error(Views(flow=flow), Video(frames)), copying, atol=1e-6, rtol=0)
    wrong = warp_error(Views(flow=-right), Video(frames))[..., 2:-2]
    assert wrong.mean() > 3.9 * copying[..., 2:-2].mean()
