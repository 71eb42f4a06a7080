import time

import pytest
import torch

from model import MODELS
from model.interface import Truth, Video
from trainer.flops import forward_flops, peak_flops

CPU = torch.device("cpu")


def test_flops_are_those_of_the_convolutions_and_leave_the_draws_alone() -> None:
    conv = torch.nn.Conv2d(3, 8, 3, padding=1)
    state = torch.get_rng_state()
    model = MODELS["copy-last"]().build()
    model.forward = lambda video, step: (conv(video.frames[:, 0]), torch.rand(3))  # type: ignore
    video = Video(torch.rand(2, 2, 3, 6, 6, generator=torch.Generator().manual_seed(0)), Truth())
    assert forward_flops(model, video, 0) == 2 * 2 * 8 * 3 * 9 * 36
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("product_s", "convolution_s", "rate"),
    [
        (0.5, 4.0, 2 * 768**3 / 0.5),
        (4.0, 0.5, 2 * 256 * 64 * 7**2 * 32**2 / 0.5),
    ],
)
def test_the_peak_is_that_of_the_faster_of_product_and_convolution(
    product_s: float, convolution_s: float, rate: float
) -> None:
    """On a clock that the first round, which warms up, makes slow."""
    seconds = [9 * product_s, 9 * convolution_s, product_s, convolution_s]
    times = iter([t for i, s in enumerate(seconds) for t in (100.0 * i, 100.0 * i + s)])
    assert peak_flops(CPU, torch.float32, lambda: next(times), budget_s=0.0) == pytest.approx(rate)


def test_the_peak_is_looked_at_for_a_while() -> None:
    started = time.perf_counter()
    assert peak_flops(CPU, torch.float32, budget_s=0.1) > 1e6
    assert time.perf_counter() - started > 0.1
