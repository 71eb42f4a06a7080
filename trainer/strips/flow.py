"""Optical flow as rows of pictures: the model's, and the true one where objects have known velocities."""

from typing import Literal

import torch

from model.interface import Video, Views
from trainer.pictures.picture import Strip
from trainer.pictures.wheel import flow_picture
from trainer.scores.flow import true_flow

FLOW = "flow"  # kind of the rows that the page explains with the wheel
LABELS: tuple[tuple[str, Literal["view", "film"]], ...] = ((FLOW, "film"), ("true flow", "view"))


def flow_strips(views: Views, video: Video) -> list[Strip]:
    """Flow into each frame, forward motion by the Middlebury wheel; none where the views have no flow.

    One scale holds for the clip and for both rows: full colour is the largest speed among them.
    """
    if views.flow is None:
        return []
    fields = [views.flow[0].float()]
    truth = video.truth
    if truth is not None and truth.visible_ids is not None and truth.velocities is not None:
        fields.append(true_flow(video)[0].float())
    fastest = max(float(torch.linalg.vector_norm(field, dim=1).max()) for field in fields)
    full = f"full colour is {fastest:.2g} pixels a frame"
    abouts = (
        f"how what each pixel shows has moved from the frame before, by the wheel; {full}",
        f"the same from the true velocities of the objects; {full}",
    )
    rows = []
    for (label, place), about, row in zip(LABELS, abouts, fields, strict=False):
        pictures = [flow_picture(field, fastest) for field in row]
        rows.append(Strip(label, about, pictures, video.frames.shape[1] - len(row) + 1, place=place))
    return rows
