"""Cross-entropy, squared and absolute error of the last frame: against torch, against what can be said on paper."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from model.interface import Video, Views
from trainer.evaluation.references import black, copy_last
from trainer.scores import SCORES


def measured(name: str, views: Views, video: Video) -> torch.Tensor:
    return SCORES[name].measure(views, video)


def binary(share: float = 0.05, clips: int = 4) -> Video:
    return Video((torch.rand(clips, 5, 1, 64, 64) < share).float())


@pytest.mark.parametrize(
    ("name", "error"), [("bce", F.binary_cross_entropy), ("mse", F.mse_loss), ("l1", F.l1_loss)]
)
def test_values_are_torchs_of_the_last_frame_alone(
    name: str, error: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    video, prediction = binary(0.3), torch.rand(4, 3, 1, 64, 64) * 0.9 + 0.05
    values = measured(name, Views(prediction=prediction), video)
    assert values.shape == (4, 1)
    assert values.dtype == torch.float64
    for n in range(4):
        expected = error(prediction[n, -1].double(), video.frames[n, -1].double())
        torch.testing.assert_close(values[n, 0], expected)


def test_cross_entropy_of_the_mean_is_the_entropy() -> None:
    video = binary(clips=1)
    p = video.frames[:, -1].mean().item()
    constant = Views(prediction=torch.full((1, 1, 1, 64, 64), p))
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert measured("bce", constant, video).item() == pytest.approx(entropy, rel=1e-6)


def test_black_costs_the_share_of_lit_pixels() -> None:
    """On two binary digits about 5 %: why an error of 0.0948 cannot be an absolute or squared one."""
    video = binary()
    lit = video.frames[:, -1].double().mean(dim=(1, 2, 3))
    for name in ("l1", "mse"):
        torch.testing.assert_close(measured(name, black(video), video)[:, 0], lit)
    cost = measured("bce", black(video), video)[:, 0]
    torch.testing.assert_close(cost, lit * -math.log(1e-12))


def test_certainty_is_finite_when_wrong_and_free_when_right() -> None:
    video = binary(0.5)
    right = Views(prediction=video.frames[:, 1:])
    assert measured("bce", right, video).abs().max() < 1e-11
    wrong = Views(prediction=1 - video.frames[:, 1:])
    assert measured("bce", wrong, video).min().item() == pytest.approx(-math.log(1e-12), rel=1e-4)
    assert measured("l1", wrong, video).eq(1).all()


def test_cross_entropy_is_not_asked_of_colours() -> None:
    video = Video(torch.rand(2, 3, 3, 8, 8))
    assert measured("bce", copy_last(video), video).isnan().all()
    assert measured("l1", copy_last(video), video).isfinite().all()


def test_copies_of_still_frames_are_perfect() -> None:
    video = Video(torch.rand(2, 1, 3, 8, 8).expand(2, 4, 3, 8, 8))
    assert measured("mse", copy_last(video), video).eq(0).all()
