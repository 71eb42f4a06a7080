"""SQAIR: the released parameters, its equations, slots and their numbers, AIR as its first frame, its objectives."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from model import MODELS
from model.interface import Video
from model.probability.distributions import bernoulli_log_prob, count_log_probs
from model.probability.normal import Normal, log_likelihood
from model.schedule import Ramp
from model.sqair.cell import Carried, State, merged
from model.sqair.discovery import Found, LearnedCount, Odds
from model.sqair.layers import GatedCell, TanhCell
from model.sqair.model import AIR, MLPSQAIR, ConvSQAIR
from model.sqair.objective import count_patterns, exact_bound, relaxed_bound, relaxed_presence
from model.sqair.propagation import Expected, Kept, Known
from model.sqair.views import steady_rows
from trainer.health import health
from trainer.stages import Rule

OPTIONS: dict[str, Any] = {
    "objective": "exact",
    "count_prior": "odds",
    "where_prior": "fixed",
    "decoder": "sigmoid",
    "mean_image": False,
    "propagation_prior": "residual",
    "covariance": "diagonal",
}


def numbers(*parts: nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


def awake(model: nn.Module) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_parameters_are_the_released_models() -> None:
    """The table of variables that the released notebook prints, component by component."""
    model = MLPSQAIR().build()
    assert numbers(model.drawing) == 184_149
    parts = (model.encoder, model.glimpses, model.discovery, model.where_prior, model.count_prior)
    assert numbers(*parts) == 1_403_398 + 8  # and two biases of counts that stand by themselves
    assert numbers(model.propagation, model.expectation) == 1_283_583
    assert numbers(model.objects, model.temporal_start, model.prior_start) == 80_384
    assert numbers(model) == 2_951_522


def test_convolutions_take_the_place_of_three_networks() -> None:
    """By the sizes of the sheet: the trunk is counted once, for both encoders have it."""
    conv, dense = ConvSQAIR().build(), MLPSQAIR().build()
    trunk, image, glimpse = conv.glimpses.trunk, conv.encoder, conv.glimpses.encoder
    assert [numbers(part) for part in (trunk, image, glimpse)] == [166_976, 803_072, 147_712]
    drawing = 13_056 + 205_600 + 25_632 + 205_056 + 409_856 + 1_601
    assert numbers(conv.drawing.layers) == drawing
    replaced = numbers(dense.encoder, dense.glimpses.encoder, dense.drawing.layers)
    assert numbers(conv) == 2_951_522 - replaced + 166_976 + 803_072 + 147_712 + drawing == 3_873_939
    assert trunk(torch.rand(2, 1, 50, 50)).shape == (2, 64 * 7 * 7)
    assert trunk(torch.rand(2, 1, 20, 20)).shape == (2, 64 * 3 * 3)
    assert conv.drawing.layers(torch.rand(2, 50)).shape == (2, 400)


def test_a_glimpse_that_cannot_be_enlarged_to_is_refused() -> None:
    with pytest.raises(ValueError, match="glimpse: got 18, needs a multiple of 4"):
        ConvSQAIR(glimpse=18)


def test_a_perfect_frame_has_the_known_likelihood() -> None:
    """7125.86 nats for ten frames of 50x50 at sigma 0.3."""
    frames = torch.rand(1, 10, 1, 50, 50)
    assert float(log_likelihood(frames, frames[:, :, None], 0.3).sum()) == pytest.approx(7125.86, abs=0.02)


def test_the_first_frame_of_sqair_is_air() -> None:
    """Same weights, same draws: the same weights of particles, divergences and choices."""
    air, sqair = awake(AIR.small().build()), awake(MLPSQAIR.small().build())
    sqair.load_state_dict(air.state_dict(), strict=False)
    missing = set(air.state_dict()) - set(sqair.state_dict())
    assert not missing
    frames = torch.rand(3, 1, 3, 16, 16)
    found = []
    for model in (air, sqair):
        model.train()
        known = model.known

        # The draws of known objects come first; they are of no effect in a first frame.
        def few(like: Tensor, known: int = known) -> Tensor:
            torch.manual_seed(4)
            drawn = torch.randn(len(like), 1, 3, *like.shape[3:]).abs().clamp(0, 0.99)
            return torch.cat([torch.zeros_like(like[:, :, :known]), drawn], 2)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randn_like", few)
            patch.setattr(torch, "rand_like", few)
            _, result = model.infer(frames, 0)
        found.append(model.weights(result))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_sqair_learns_from_single_frames_what_air_does() -> None:
    """What carries on gets no gradient, not one of zeros, so that an optimiser has not met it when it is needed."""
    model = awake(replace(MLPSQAIR.small(), **OPTIONS).build())
    output = model(Video(torch.rand(2, 1, 3, 16, 16)), 0)
    output.loss.backward()
    assert output.terms["discovered_later"] == 0
    assert output.views.prediction.shape[1] == 0
    assert all(p.grad is None for p in model.propagation.parameters())
    for part in (model.discovery, model.glimpses.encoder, model.drawing):
        assert all(p.grad.any() for p in part.parameters())


def test_slots_stay_together_and_numbers_are_used_once() -> None:
    """A known object that goes makes room; all that belongs to an object moves with it; overflow is dropped."""

    wide = torch.tensor([[[1.0], [2.0], [3.0]]])
    where, start, ones = wide.expand(-1, -1, 4), torch.zeros(1, 3, 1), torch.ones(1, 3)
    state = State(where, wide, ones, wide, wide, torch.tensor([[7, 8, 9]]), torch.tensor([9]), ones[:, 0])
    q = Normal(where, where)
    kept = Kept(where, wide, torch.tensor([[0.0, 1.0, 1.0]]), ones, wide, q, q)
    carried = Carried(kept, Expected(q, q, ones, wide), ones, ones, wide[0], ones[:, 0], (start, start))
    new = Found(10 * where, 10 * wide, ones, q, q)
    after, order = merged(state, carried, new, torch.tensor([[1.0, 0.0, 0.0]]))
    assert order.tolist() == [[1, 2, 3]]
    assert after.identities.tolist() == [[8, 9, 10]]
    assert after.what[0, :, 0].tolist() == [2, 3, 10]
    assert after.where[0, :, 0].tolist() == [2, 3, 10]
    assert after.temporal[0, :, 0].tolist() == [2, 3, 0]
    assert after.last.tolist() == [10]
    assert after.presence.tolist() == [[1, 1, 1]]


def test_rows_of_views_hold_an_object_for_as_long_as_it_is_known() -> None:
    identities = torch.tensor([[[1, 2, 0], [2, 0, 0], [2, 3, 0], [2, 3, 4], [3, 4, 0]]])
    rows = steady_rows(identities)
    assert identities.gather(2, rows).tolist() == [
        [[1, 2, 0], [0, 2, 0], [3, 2, 0], [3, 2, 4], [3, 0, 4]]
    ]  # fmt: skip
    assert rows.sort(2).values.tolist() == [[[0, 1, 2]] * 5]


def test_the_gated_cell_is_the_papers_gru() -> None:
    cell, x, h = awake(GatedCell(3, 4)).double(), torch.rand(5, 3).double(), torch.rand(5, 4).double()
    w, b, u, v = (p.double() for p in cell.parameters())
    z, r, n = (w @ x.T).T.add(b).chunk(3, 1)
    z = torch.sigmoid(z + h @ u[:4].T)
    n = torch.tanh(n + (torch.sigmoid(r + h @ u[4:].T) * h) @ v.T)
    torch.testing.assert_close(cell(x, h).double(), (1 - z) * h + z * n, atol=1e-6, rtol=1e-6)
    assert numbers(GatedCell(360, 256)) == 3 * 256 * (360 + 256 + 1)
    assert numbers(TanhCell(416, 256)) == 416 * 256 + 256 * 256 + 3 * 256


def test_counts_are_a_distribution() -> None:
    share, first, odds = torch.rand(6) - 0.5, torch.tensor([1.0, 0, 1, 0, 1, 0]), torch.randn(6)
    for prior in (LearnedCount(3, sequence=True), LearnedCount(3, sequence=False), Odds(3)):
        torch.testing.assert_close(prior(share, first, odds).exp().sum(1), torch.ones(6))
    torch.testing.assert_close(Odds(3)(share, first, odds), count_log_probs(odds[:, None].expand(-1, 3)))
    later = LearnedCount(3, sequence=True)(share, first, odds).exp()[:, 0]
    assert (later[1::2] > 0.99).all()
    assert (later[::2] < 0.9).all()


def test_a_correlated_posterior_has_the_covariance_it_says() -> None:
    part = awake(MLPSQAIR.small().build()).propagation
    q = part._moved(torch.rand(1, 8), torch.rand(1, 4), torch.rand(1, 8), part._shape())
    draws = Normal(*(x.expand(40_000, *x.shape[1:]) for x in q)).sample(torch.randn(40_000, 4))
    expected = q.factor[0] @ q.factor[0].T
    torch.testing.assert_close(torch.cov(draws.T), expected, atol=4e-4, rtol=0.05)
    p = Normal(torch.zeros(1, 4), torch.ones(1, 4))
    some = [q.divergence(p, x[None]) for x in draws[:4000].detach()]
    exact = float(q.divergence(p, None).detach())
    assert float(torch.cat(some).mean().detach()) == pytest.approx(exact, rel=0.03)


def small_step(model: Any, frames: Tensor) -> Any:
    torch.manual_seed(0)
    return model.infer(frames, 0)[1]


def test_the_exact_bound_is_the_mean_over_all_counts() -> None:
    """By hand, number by number: sum_n q(n) (log p(x | n) - KL_1..n + log p(n) - log q(n))."""
    model = awake(
        replace(AIR.small(), **{k: v for k, v in OPTIONS.items() if k in vars(AIR.small())}).build()
    )
    result = small_step(model, torch.rand(4, 1, 3, 16, 16))
    step = result.step
    bound = exact_bound(step, result.likelihood, result.toggled)
    p = torch.sigmoid(step.found_logits)
    expected = torch.zeros_like(bound)
    for n in range(4):
        q = p[..., :n].prod(-1) * ((1 - p[..., n]) if n < 3 else 1)
        cost = step.divergence[..., :n].sum(-1)
        expected = expected + q * (result.likelihood[..., n] - cost + step.count_prior[..., n] - q.log())
    torch.testing.assert_close(bound, expected)


def test_what_is_kept_learns_from_its_local_gain() -> None:
    """The gradient at a logit of presence is q (1 - q) (gain - KL) less that of the divergence of presence."""
    model = awake(replace(MLPSQAIR.small(), **OPTIONS).build())
    result = small_step(model, torch.rand(4, 3, 3, 16, 16))
    logits = result.step.kept_logits.detach().requires_grad_()
    step = result.step._replace(kept_logits=logits, divergence=result.step.divergence.detach())
    exact_bound(step, result.likelihood.detach(), result.toggled).sum().backward()
    known = step.before.shape[-1]
    gain = result.toggled[..., :known] - result.toggled[..., known:] - step.divergence[..., :known]
    q = torch.sigmoid(logits.detach())
    expected = step.before * q * (1 - q) * (gain - (logits.detach() - step.expected_logits.detach()))
    torch.testing.assert_close(logits.grad, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("count_prior", ["learned", "odds"])
def test_presences_that_are_hardly_relaxed_give_the_sum_over_all_counts(count_prior: str) -> None:
    """On average over their chances, with the same places and looks in every row."""
    rows = 4000
    config = replace(
        AIR.small(),
        objective="concrete",
        count_prior=count_prior,
        presence_temperature=1e-3,
        particles=1,
        deviation=6.0,
    )
    model = awake(config.build())
    frames, same = torch.rand(1, 1, 3, 16, 16).expand(rows, -1, -1, -1, -1), torch.randn(1, 1, 3, 8)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn_like", same.expand_as)
        result = small_step(model, frames)
        step = result.step
        means, _ = model.drawing(step.what[:1], step.where[:1], count_patterns(step)[:1])
        counted = log_likelihood(frames[:1], means, config.deviation)
        exact = exact_bound(
            step._replace(**{k: v[:1] for k, v in step._asdict().items()}), counted, counted[..., :0]
        )
    bounds = relaxed_bound(step, result.likelihood[..., 0], config.presence_temperature)
    assert len(step.found.sum(-1).unique()) > 2
    error = float(bounds.std()) / rows**0.5
    assert error < 0.4
    assert float(bounds.mean()) == pytest.approx(float(exact), abs=4 * error)


def test_relaxed_presences_round_to_those_that_are_drawn() -> None:
    """Up to the first new object that is not there; what was not there before stays away."""
    model = awake(replace(MLPSQAIR.small(), objective="concrete").build())
    with torch.no_grad():
        step = small_step(model, torch.rand(8, 4, 3, 16, 16)).step
    soft = relaxed_presence(step, 1.0)
    assert ((soft > 0.01) & (soft < 0.99)).any()
    assert torch.equal(soft[..., :3] > 0.5, step.presence[..., :3] > 0)
    counts = step.found.sum(-1, keepdim=True)
    asked = torch.arange(3) < counts
    assert (soft[..., 3:][asked] > 0.5).all()
    last = torch.arange(3) == counts
    assert (soft[..., 3:][last] < 0.5).all()


@pytest.mark.parametrize("name", ["air", "sqair-mlp"])
@pytest.mark.parametrize(
    "changed",
    [
        OPTIONS,
        OPTIONS | {"objective": "concrete"},
        {"objective": "vimco-released", "log_odds": Ramp(9.0, -9.0, 10)},
    ],
)
def test_every_option_trains(name: str, changed: dict[str, Any]) -> None:
    small: Any = MODELS[name].small()
    config = replace(small, **{k: v for k, v in changed.items() if hasattr(small, k)})
    model = awake(config.build())
    output = model(Video(torch.rand(2, 4, 3, 16, 16)), 5)
    output.loss.backward()
    dead = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_truncation_leaves_no_object_without_a_slot() -> None:
    """As the paper has it; as released, more may be found than there is room for, and are dropped."""
    frames = torch.rand(8, 4, 3, 16, 16)
    for truncate in (True, False):
        config = replace(MLPSQAIR.small(), truncate=truncate, discovery_bias=4.0)
        result = small_step(config.build(), frames)
        step = result.step
        kept, found = step.presence[..., :3].sum(-1), step.found.sum(-1)
        assert (step.presence.sum(-1) <= 3).all()
        assert bool((kept + found <= 3).all()) == truncate
        torch.testing.assert_close(step.count_prior.exp().sum(-1), torch.ones_like(kept))


def test_particles_are_shown_where_asked_and_the_bound_grows_with_them() -> None:
    config = replace(MLPSQAIR.small(), shown_particles=16)
    model = awake(config.build()).eval()
    assert model.samples
    video = Video(torch.rand(2, 3, 3, 16, 16))
    with torch.no_grad():
        output = model(video, 0)
    said = output.views.particles
    assert said.log_weights.shape == (2, 16)
    torch.testing.assert_close(said.log_weights, (said.log_likelihood - said.kl).sum(2))
    assert (said.log_weights.logsumexp(1) - torch.log(torch.tensor(16.0)) >= said.log_weights.mean(1)).all()
    assert output.views.particles.counts[:, 0].tolist() == (output.views.presence > 0).sum(2).tolist()


@pytest.mark.parametrize(("bias", "later"), [(20.0, 0.0), (-20.0, 2.0)])
def test_what_drops_its_objects_finds_them_anew(bias: float, later: float) -> None:
    """Both count alike; the sign of health tells them apart, and so does a stage's rule."""
    config = replace(MLPSQAIR.small(), slots=2, propagation_bias=bias, discovery_bias=20.0, truncate=True)
    with torch.no_grad():
        views = config.build().eval()(Video(torch.rand(2, 4, 3, 16, 16)), 0).views
    assert (views.presence.sum(2) == 2).all()
    found = float(health(views)["slot_found_later"])
    assert found == later
    collapsed = Rule(metric="terms.slot_found_later", at_least=0.5)  # as docs/stages.md has it
    assert collapsed.holds(found) == (bias < 0)


def test_its_work_can_be_counted() -> None:
    model, video = MLPSQAIR.small().build(), Video(torch.rand(1, 3, 3, 16, 16))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(video, 0)
    assert counter.get_total_flops() > 2 * numbers(model)


def test_weights_of_discrete_choices_are_those_of_the_draws() -> None:
    """log q of a clip: every presence that was asked for, and the number that was found."""
    model = awake(MLPSQAIR.small().build())
    with torch.no_grad():
        result = small_step(model, torch.rand(3, 4, 3, 16, 16))
        step, w = result.step, model.weights(result)
    for row, t in itertools.product(range(6), range(4)):
        total = 0.0
        for k in range(3):
            if step.before[row, t, k]:
                total += float(bernoulli_log_prob(step.presence[row, t, k], step.kept_logits[row, t, k]))
        for k in range(3):
            total += float(bernoulli_log_prob(step.found[row, t, k], step.found_logits[row, t, k]))
            if not step.found[row, t, k]:
                break
        assert float(w.log_choices[row, t]) == pytest.approx(total, abs=1e-4)


def test_a_residual_prior_expects_what_was_and_finds_it_there() -> None:
    model = replace(MLPSQAIR.small(), **OPTIONS).build()
    where, what, state = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.zeros(2, 3, 8)
    known = Known(where, what, torch.ones(2, 3), state, state)
    expected = model.expectation(known)
    torch.testing.assert_close(expected.where.mean, where, atol=0.1, rtol=0)
    torch.testing.assert_close(expected.where.deviation, torch.full_like(where, 0.16), atol=0.02, rtol=0)
    frame, noise, chance = torch.rand(2, 3, 16, 16), torch.zeros(2, 3, 8), torch.full((2, 3), 0.5)
    kept = model.propagation(frame, known, model.glimpses, noise, chance)
    torch.testing.assert_close(kept.where, where)
    assert kept.presence.all()
