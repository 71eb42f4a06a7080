"""Frames against frames: independent implementations, edge cases."""

import numpy as np
import pytest
import torch
import torchmetrics.functional.image as image
from skimage.metrics import peak_signal_noise_ratio
from skimage.metrics import structural_similarity as skimage_ssim

from model.interface import Video, Views
from tests.trainer.squares import HEIGHT, WIDTH
from trainer.scores import SCORES
from trainer.scores.prediction import peak_signal_to_noise, structural_similarity


def image_pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Frames (c, h, w) in float64: random and edge cases."""
    rng = np.random.default_rng(0)
    noise = rng.random((3, HEIGHT, WIDTH))
    half = np.full_like(noise, 0.5)
    checkers = np.indices((HEIGHT, WIDTH)).sum(0)[None].repeat(3, 0) % 2.0
    return {
        "random": (noise, rng.random(noise.shape)),
        "close": (noise, np.clip(noise + 1e-3 * rng.standard_normal(noise.shape), 0, 1)),
        "identical": (noise, noise),
        "constant": (half, np.full_like(noise, 0.25)),
        "black and white": (np.zeros_like(noise), np.ones_like(noise)),
        "constant and noise": (half, noise),
        "inverted": (checkers, 1 - checkers),
        "grey": (noise[:1], half[:1]),
        "smallest": (noise[:, :11, :11], half[:, :11, :11]),
    }


@pytest.mark.parametrize("name", image_pairs())
def test_psnr_and_ssim_agree_with_independent_implementations(name: str) -> None:
    a, b = image_pairs()[name]
    ours = structural_similarity(torch.from_numpy(a), torch.from_numpy(b)).item()
    expected = skimage_ssim(
        a, b, data_range=1.0, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ours == pytest.approx(expected, abs=1e-6)
    batch = torch.from_numpy(a)[None], torch.from_numpy(b)[None]
    # torchmetrics also averages windows that reach over the border, into a mirror image; ours are those inside.
    _, places = image.structural_similarity_index_measure(*batch, data_range=1.0, return_full_image=True)
    assert ours == pytest.approx(places[..., 5:-5, 5:-5].mean().item(), abs=1e-6)
    decibel = peak_signal_to_noise(*batch).item()
    if name == "identical":
        assert decibel == pytest.approx(100.0)
        return
    assert decibel == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0), abs=1e-6)
    # torchmetrics takes log(10) in float32, whatever the input: 1e-7 relative.
    assert decibel == pytest.approx(
        image.peak_signal_noise_ratio(*batch, data_range=1.0).item(), rel=1e-7, abs=1e-6
    )


def test_frames_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(ValueError, match="11 x 11 pixels, got 10 x 24"):
        structural_similarity(torch.rand(2, 3, 10, 24), torch.rand(2, 3, 10, 24))


def test_psnr_is_the_mean_of_decibels_not_of_errors() -> None:
    frames = torch.zeros(1, 3, 1, 4, 4)
    views = Views(prediction=torch.tensor([0.1, 0.01]).view(1, 2, 1, 1, 1).expand(1, 2, 1, 4, 4))
    values = SCORES["psnr"].measure(views, Video(frames))
    torch.testing.assert_close(values, torch.tensor([[20.0, 40.0]], dtype=torch.float64), atol=1e-5, rtol=0)
