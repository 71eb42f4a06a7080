"""How close predicted frames are to the true ones: PSNR and SSIM, frame by frame; errors a pixel of the last frame.

All work in float64: they are averaged over whole data sets, must not depend on the device's shortcuts
(TF32), and SSIM subtracts nearly equal numbers.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from data_shards.mistake import UserError
from model.interface import Video, Views

MSE_FLOOR = 1e-10  # identical frames score 100 dB
RADIUS, SIGMA = 5, 1.5  # the 11 x 11 window of Wang et al. 2004
CERTAIN = 1e-12  # probabilities keep this far from 0 and 1, as Torch's criterion does: a pixel costs 27.6 nats at most
STABILISERS = (0.01**2, 0.03**2)  # (K1 L)^2 and (K2 L)^2 for frames in [0, 1]


def peak_signal_to_noise(
    predicted: Float[Tensor, "*b c h w"], true: Float[Tensor, "*b c h w"]
) -> Float[Tensor, "*b"]:
    """Per-frame PSNR in dB of frames in [0, 1]: -10 log10 of the squared error, at most 100 dB."""
    error = (predicted.double() - true.double()).square().mean(dim=(-3, -2, -1))
    return -10 * torch.log10(error.clamp(min=MSE_FLOOR))


def structural_similarity(
    predicted: Float[Tensor, "*b c h w"], true: Float[Tensor, "*b c h w"]
) -> Float[Tensor, "*b"]:
    """Per-frame SSIM in [-1, 1] with the setting of Wang et al.: the mean over channels and window places.

    Gaussian window of sigma 1.5 cut at 11 x 11, population covariance, data range 1, only windows that lie
    inside the frame. scikit-image gives the same with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1`; its defaults (uniform 7 x 7 window) give other numbers.

    Raises:
        UserError: frames smaller than the window.
    """
    height, width = true.shape[-2:]
    if min(height, width) <= 2 * RADIUS:
        raise UserError(
            f"SSIM needs frames of at least 11 x 11 pixels, got {height} x {width}: use psnr only"
        )
    x, y = predicted.double(), true.double()
    # The window is separable, and a product with a banded matrix is one fast GEMM on every device.
    down, across = _window(height, x.device), _window(width, x.device)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (down @ (a @ across.T) for a in (x, y, x * x, y * y, x * y))
    c1, c2 = STABILISERS
    covariance = mean_xy - mean_x * mean_y
    variances = mean_xx - mean_x.square() + mean_yy - mean_y.square()
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean(dim=(-3, -2, -1))


def psnr(views: Views, video: Video) -> Float[Tensor, "b q"]:
    """PSNR in dB of each predicted frame."""
    assert views.prediction is not None
    return peak_signal_to_noise(views.prediction, predicted_frames(views, video))


def ssim(views: Views, video: Video) -> Float[Tensor, "b q"]:
    """SSIM of each predicted frame; undefined for frames smaller than its window."""
    assert views.prediction is not None
    if min(views.prediction.shape[-2:]) <= 2 * RADIUS:
        return views.prediction.new_full(views.prediction.shape[:2], torch.nan)
    return structural_similarity(views.prediction, predicted_frames(views, video))


def bce(views: Views, video: Video) -> Float[Tensor, "b 1"]:
    """Binary cross-entropy a pixel of the last frame, nats (Table 1 of arXiv 1511.06309, as we read it).

    Predictions are probabilities that a pixel is lit. Where grey frames are not binary, the least possible value is
    their entropy, above 0. Undefined for frames in colour.
    """
    predicted, true = last_frames(views, video)
    if true.shape[1] != 1:
        return true.new_full((len(true), 1), torch.nan)
    p = predicted.clamp(CERTAIN, 1 - CERTAIN)
    return _per_pixel(-(true * p.log() + (1 - true) * (1 - p).log()))


def mse(views: Views, video: Video) -> Float[Tensor, "b 1"]:
    """Squared error a pixel of the last frame, in [0, 1]."""
    predicted, true = last_frames(views, video)
    return _per_pixel((predicted - true).square())


def l1(views: Views, video: Video) -> Float[Tensor, "b 1"]:
    """Absolute error a pixel of the last frame, in [0, 1]."""
    predicted, true = last_frames(views, video)
    return _per_pixel((predicted - true).abs())


def explained_mse(views: Views, video: Video) -> Float[Tensor, "b s"]:
    """Squared error a pixel of frames that the model has seen, as its slots make them after the last refinement."""
    assert views.refinements is not None
    assert views.refinements.frames is not None
    made = views.refinements.frames[:, :, -1].double()
    return (made - video.frames[:, : made.shape[1]].double()).square().mean(dim=(-3, -2, -1))


def last_frames(views: Views, video: Video) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    """The last frame, predicted and true, in float64: the one that has the most frames before it."""
    assert views.prediction is not None
    return views.prediction[:, -1].double(), video.frames[:, -1].double()


def predicted_frames(views: Views, video: Video) -> Float[Tensor, "b q c h w"]:
    """The true frames that `views.prediction` predicts: the last p of the clip."""
    assert views.prediction is not None
    return video.frames[:, video.frames.shape[1] - views.prediction.shape[1] :]


def _per_pixel(errors: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1"]:
    return errors.mean(dim=(-3, -2, -1))[:, None]


def _window(size: int, device: torch.device) -> Float[Tensor, "places size"]:
    """Row i averages the 11 entries from i on with Gaussian weights."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64, device=device)
    weights = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    place = torch.arange(size - 2 * RADIUS, device=device)
    rows = torch.zeros(len(place), size, dtype=torch.float64, device=device)
    for i, weight in enumerate(weights / weights.sum()):
        rows[place, place + i] = weight
    return rows
