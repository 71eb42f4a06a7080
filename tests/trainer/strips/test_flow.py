"""Rows of flow: the colours of known motion, in one scale, under the frames that the motion leads to."""

import numpy as np
import torch

from model.interface import Truth, Video, Views
from trainer.strips.flow import flow_strips


def moving(velocity: tuple[float, float]) -> Video:
    """Four frames of an object, the left half, that says it moves."""
    ids = torch.zeros(1, 4, 6, 8, dtype=torch.long)
    ids[..., :4] = 1
    velocities = torch.tensor(velocity).expand(1, 4, 1, 2)
    return Video(torch.zeros(1, 4, 1, 6, 8), Truth(visible_ids=ids, velocities=velocities))


def test_rows_have_the_wheels_colours_where_things_move() -> None:
    flow = torch.zeros(1, 3, 2, 6, 8)
    flow[:, :, 1, :3] = 2.0  # downwards
    found, true = flow_strips(Views(flow=flow), moving((2.0, 0.0)))
    assert (found.label, true.label) == ("flow", "true flow")
    assert (found.first, len(found.pictures)) == (true.first, len(true.pictures)) == (2, 3)
    down, right = found.pictures[0][0, 0], true.pictures[0][0, 0]
    assert down[0] > 200 > 60 > down[2]  # yellow: red and green without blue
    assert down[1] > 150
    assert right[0] > 250 > 10 > right[1:].max()  # red
    for row, still in ((found, np.s_[3:]), (true, np.s_[:, 4:])):
        assert (row.pictures[1][still] == 255).all()


def test_one_scale_holds_for_the_clip_and_for_both_rows() -> None:
    flow = torch.zeros(1, 2, 2, 6, 8)
    flow[:, 0, 0], flow[:, 1, 0] = 4.0, 2.0
    found, true = flow_strips(Views(flow=flow), moving((1.0, 0.0)))
    assert found.first == 3
    assert true.first == 2
    full, half, quarter = (row.pictures[i][0, 0] for row, i in ((found, 0), (found, 1), (true, 0)))
    assert full[1] < 3
    np.testing.assert_allclose(half[1:], 127, atol=2)
    np.testing.assert_allclose(quarter[1:], 191, atol=2)
    assert "full colour is 4 pixels a frame" in found.about


def test_no_flow_no_row() -> None:
    assert flow_strips(Views(), moving((1.0, 0.0))) == []
    video = Video(torch.zeros(1, 4, 1, 6, 8))
    (row,) = flow_strips(Views(flow=torch.zeros(1, 3, 2, 6, 8)), video)
    assert all((picture == 255).all() for picture in row.pictures)
