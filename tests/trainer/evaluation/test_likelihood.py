"""Log p(x) in passes: as from all particles at once, whatever their weights; each model by its own reading."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from data_shards.loader import DataConfig
from data_shards.mistake import UserError
from model.interface import ModelConfig, Particles, Truth, Video
from model.object_discovery.model import Config as ObjectDiscovery
from model.sqair.model import AIR, MLPSQAIR
from model.vrnn.model import MLPVRNN
from trainer.checkpoints.checkpoint import Checkpoint
from trainer.checkpoints.load import LoadedModel
from trainer.config import RunConfig
from trainer.evaluation.likelihood import Streamed, likelihood, sampling
from trainer.evaluation.views import draws_of_clip

CPU = torch.device("cpu")


def loaded(config: ModelConfig) -> LoadedModel:
    torch.manual_seed(0)
    checkpoint = Checkpoint(0, 1, 0, "first", {}, "", "", {})
    return LoadedModel(RunConfig(model=config, data=DataConfig("set")), config.build(), checkpoint, "run")


def said(likelihood: Tensor, kl: Tensor, counts: Tensor | None = None) -> Particles:
    return Particles((likelihood - kl).sum(1)[None], likelihood[None], kl[None], counts)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.floats(-1e5, 1e5),
    st.floats(0.01, 400.0),
    st.booleans(),
    st.integers(0, 99),
)
def test_passes_give_what_all_at_once_give(
    passes: list[int], level: float, spread: float, independent: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    count, steps = sum(passes), 3
    inside, kl = (level + spread * torch.randn(count, steps) for _ in range(2))
    counts = torch.randint(0, 3, (count, steps))
    streamed = Streamed(independent, torch.tensor([1, 1, 2]))
    for part in torch.arange(count).split(passes):
        streamed.add(said(inside[part], kl[part], counts[part][None]))
    found = streamed.result()
    log_weights = inside.double() - kl.double()
    if not independent:
        log_weights = log_weights.sum(1, keepdim=True).expand(-1, steps)
    share = log_weights.softmax(0)
    evidence = log_weights.logsumexp(0) - math.log(count)
    expected = {
        "log_evidence": evidence.sum() if independent else evidence[0],
        "log_likelihood": (share * inside).sum(),
        "kl": (share * kl).sum(),
        "plain_log_likelihood": inside.double().sum() / count,
        "plain_kl": kl.double().sum() / count,
        "counting": (share * (counts == torch.tensor([1, 1, 2]))).sum() / steps,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-6, abs=1e-6 * abs(level) + 1e-6), name


@pytest.mark.parametrize("config", [AIR.small(), MLPSQAIR.small(), MLPVRNN.small()])
def test_a_model_draws_anew_in_each_pass_and_by_its_clip_alone(config: ModelConfig) -> None:
    model = loaded(config)
    frames = torch.rand(3, 4, 3, 16, 16)
    video = Video(frames, Truth(present=torch.ones(3, 2, dtype=torch.long)))
    together = likelihood(model, [video], 6, 2, CPU)
    halves = [Video(frames[:1], video.truth and Truth(present=torch.ones(1, 2, dtype=torch.long)))]
    halves.append(Video(frames[1:], Truth(present=torch.ones(2, 2, dtype=torch.long))))
    assert likelihood(model, halves, 6, 2, CPU) == together
    assert (together.clips, together.particles) == (3, 6)
    assert (together.counting is None) is isinstance(config, MLPVRNN)
    drawn, two = [], sampling(model, 2, CPU)
    with torch.no_grad(), draws_of_clip(0, CPU):
        for _ in range(3):
            particles = two(Video(frames[:1]), 0).views.particles
            assert particles is not None
            assert particles.log_likelihood is not None
            assert particles.kl is not None
            drawn.append((particles.log_likelihood - particles.kl)[0])
    weights = torch.cat(drawn).double()
    assert len(weights.sum(1).unique()) == 6
    if not config.independent:
        weights = weights.sum(1, keepdim=True)
    expected = (weights.logsumexp(0) - math.log(6)).sum()
    only = likelihood(model, [Video(frames[:1])], 6, 2, CPU)
    assert only.log_evidence == pytest.approx(float(expected), rel=1e-6)
    assert only.error is None


def test_more_particles_bring_the_bound_nearer() -> None:
    model = loaded(MLPSQAIR.small())
    video = Video(torch.rand(6, 3, 3, 16, 16))
    few, many = (likelihood(model, [video], count, 100, CPU).log_evidence for count in (1, 200))
    assert few < many


def test_a_model_without_latents_is_refused() -> None:
    with pytest.raises(UserError, match="gives no likelihood"):
        likelihood(loaded(ObjectDiscovery.small()), [Video(torch.rand(1, 3, 3, 16, 16))], 2, 2, CPU)


def test_no_clip_is_refused() -> None:
    with pytest.raises(UserError, match="no clip"):
        likelihood(loaded(MLPVRNN.small()), [], 2, 2, CPU)
