"""Videos part by part: however they are cut, they are what they are in one piece, and what a clip is."""

import pytest
import torch
from torch import Tensor

from model import MODELS
from model.interface import Followed, Video, VideoModel, Views
from tests.model.test_contract import SMALL, awake

FOLLOWING = [name for name, config in SMALL.items() if config.follows]
FRAMES = 9


def followed(model: VideoModel, frames: Tensor, lengths: tuple[int, ...]) -> list[Views]:
    parts: list[Views] = []
    before: Followed | None = None
    for part in frames.split(lengths, 1):
        before = model.follow(part, 5, before)
        parts.append(before.views)
    return parts


@pytest.mark.parametrize("lengths", [(9,), (2, 7), (4, 1, 4), (5, 3, 1), (2, 1, 1, 1, 1, 1, 1, 1)])
@pytest.mark.parametrize("name", FOLLOWING)
def test_parts_of_a_video_are_what_the_clip_is(name: str, lengths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, frames = awake(name).eval(), torch.rand(2, FRAMES, 3, 16, 16)
    parts = followed(model, frames, lengths)
    assert [part.amodal_masks.shape[1] for part in parts] == list(lengths)
    assert [part.prediction.shape[1] for part in parts] == [lengths[0] - 1, *lengths[1:]]
    with torch.no_grad():
        clip = model(Video(frames), 5).views.tensors()
    assert set(clip) == set(parts[0].tensors())
    for field, expected in clip.items():
        whole = torch.cat([part.tensors()[field] for part in parts], 1)
        torch.testing.assert_close(whole[:, : expected.shape[1]], expected, rtol=1e-4, atol=1e-5, msg=field)


def test_models_that_follow_say_so() -> None:
    for name, config in MODELS.items():
        overridden = type(config.small().build()).follow is not VideoModel.follow
        assert config.follows == overridden, name
