"""VRNN: its sizes, its bound against a plain loop, and the particles that go on."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from model.interface import Video
from model.vrnn.cell import ancestors, effective
from model.vrnn.model import MLPVRNN, VRNN, ConvVRNN, Recurrent
from model.vrnn.networks import ConvEncoder, sides

SMALL: list[VRNN] = [MLPVRNN.small(), ConvVRNN.small()]


def test_the_fully_connected_one_has_the_parameters_of_the_sheet() -> None:
    """Encoder, latent, recurrence, prior, posterior, decoder: near MLP-SQAIR's 2,951,522."""
    model = MLPVRNN().build()
    parts = [model.encoder, model.latent, model.lstm, model.prior, model.posterior, model.decoder]
    sizes = [sum(p.numel() for p in part.parameters()) for part in parts]
    assert sizes == [706_048, 108_288, 787_456, 150_602, 216_138, 839_620]
    assert sum(sizes) == 2_808_152


def test_the_convolutional_one_goes_through_its_sizes_and_back() -> None:
    assert sides(50) == [50, 50, 25, 25, 13, 13, 7]
    model = ConvVRNN().build()
    frames = torch.rand(2, 1, 50, 50)
    assert isinstance(model.encoder, ConvEncoder)
    assert model.encoder.layers[:-1](frames).shape == (2, 64, 7, 7)
    assert model.decoder(torch.rand(2, 512)).shape == frames.shape
    assert 3_100_000 < sum(p.numel() for p in model.parameters()) < 3_250_000


@pytest.mark.parametrize("size", [8, 15, 16, 33, 50, 64])
def test_frames_of_any_size_come_back_in_it(size: int) -> None:
    model = replace(ConvVRNN.small(), size=size).build()
    assert model.predict(Video(torch.rand(1, 2, 3, size, size)), 2).shape == (1, 2, 3, size, size)


@pytest.mark.parametrize("config", SMALL)
def test_the_bound_is_that_of_a_plain_loop(config: VRNN) -> None:
    """Frame by frame and particle by particle, with torch's own distributions, on the same draws."""
    torch.manual_seed(0)
    model = replace(config, objective="iwae").build()
    frames = torch.rand(2, 4, 3, 16, 16)
    torch.manual_seed(1)
    noise = torch.randn(2 * 3, 4, config.latent)
    torch.manual_seed(1)
    out = model(Video(frames), 0)
    with torch.no_grad():
        rows = [[plain_log_weight(model, frames[b], noise[3 * b + p]) for p in range(3)] for b in range(2)]
    log_weights = torch.tensor(rows)
    particles = out.views.particles
    assert particles is not None
    torch.testing.assert_close(particles.log_weights, log_weights, rtol=1e-5, atol=1e-3)
    bound = log_weights.logsumexp(1).mean() - math.log(3)
    torch.testing.assert_close(out.loss, -bound / 4, rtol=1e-5, atol=1e-3)


def plain_log_weight(model: Recurrent, frames: Tensor, noise: Tensor) -> float:
    """Log p(x, z) - log q(z | x) of one clip and one particle."""
    config, total = model.config, 0.0
    hidden = cell = seen = latent = torch.zeros(1, config.hidden)
    for frame, eps in zip(frames, noise, strict=True):
        hidden, cell = model.lstm(torch.cat([seen, latent], 1), hidden, cell)
        seen = model.encoder(frame[None])
        prior, posterior = (
            Normal(m, torch.nn.functional.softplus(s) + 0.01)
            for m, s in (
                model.prior(hidden).chunk(2, 1),
                model.posterior(torch.cat([hidden, seen], 1)).chunk(2, 1),
            )
        )
        z = posterior.mean + posterior.stddev * eps
        latent = model.latent(z)
        pixels = Normal(model.decoder(torch.cat([latent, hidden], 1))[0], config.deviation)
        total += float(pixels.log_prob(frame).sum() + (prior.log_prob(z) - posterior.log_prob(z)).sum())
    return total


def test_without_a_reason_to_resample_both_bounds_are_one() -> None:
    """With a wide likelihood all particles weigh about as much."""
    torch.manual_seed(0)
    config = replace(MLPVRNN.small(), deviation=50.0)
    model = config.build()
    other = replace(config, objective="iwae").build()
    other.load_state_dict(model.state_dict())
    frames, losses = torch.rand(3, 5, 3, 16, 16), []
    for one in (model, other):
        torch.manual_seed(2)
        losses.append(one(Video(frames), 0).loss)
    torch.testing.assert_close(losses[0], losses[1])


def test_both_bounds_estimate_the_same_evidence() -> None:
    """Weights are unbiased for p(x), whether particles are resampled or not."""
    torch.manual_seed(0)
    config = replace(MLPVRNN.small(), deviation=2.5, latent=1, particles=4)  # a fifth of clips resample
    model = config.build()
    other = replace(config, objective="iwae").build()
    other.load_state_dict(model.state_dict())
    frames = torch.rand(1, 3, 3, 16, 16).expand(20_000, -1, -1, -1, -1)
    with torch.no_grad():
        resampled, plain = (one(Video(frames), 0).views.particles for one in (model, other))
    assert resampled is not None
    assert plain is not None
    mine, theirs = (w.log_weights.double().logsumexp(1) - math.log(4) for w in (resampled, plain))
    assert mine.std() > 0.5  # there is something to estimate
    level = theirs.mean()
    a, b = ((x - level).exp() for x in (mine, theirs))
    error = math.sqrt(float(a.var() + b.var()) / len(a))
    assert abs(float(a.mean() - b.mean())) < 4 * error


def test_particles_go_on_by_their_weights() -> None:
    torch.manual_seed(0)
    weights = torch.tensor([0.6, 0.3, 0.1])
    log_weights = weights.log().expand(50_000, -1) - 700.0
    rows = ancestors(log_weights, torch.rand(50_000, 3), torch.ones(50_000, dtype=torch.bool))
    first = 3 * torch.arange(50_000)[:, None]
    assert ((rows >= first) & (rows < first + 3)).all()
    shares = torch.bincount((rows - first).flatten(), minlength=3) / rows.numel()
    torch.testing.assert_close(shares, weights, atol=0.01, rtol=0)
    kept = ancestors(log_weights[:4], torch.rand(4, 3), torch.zeros(4, dtype=torch.bool))
    assert torch.equal(kept.flatten(), torch.arange(12))


def test_effective_numbers() -> None:
    log_weights = torch.tensor([[0.0, 0, 0, 0], [0, -1e3, -1e3, -1e3], [-5e3, -5e3, -9e3, -9e3]])
    torch.testing.assert_close(effective(log_weights), torch.tensor([4.0, 1.0, 2.0]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"objective": "elbo"}, "objective"),
        ({"size": 4}, "size"),
        ({"latent": 0}, "latent"),
        ({"deviation": 0.0}, "dev"),
    ],
)
def test_bad_fields_are_refused_by_name(words: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(ConvVRNN.small(), **words)  # type: ignore[arg-type]
