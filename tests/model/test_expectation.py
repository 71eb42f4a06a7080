"""N-EM and R-NEM: the E-step against posteriors by enumeration, the loss and the recurrence against plain loops."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from model.expectation.cell import Inputs, State
from model.expectation.model import NEM, RNEM, Expectation, ExpectationMaximisation
from model.expectation.networks import Relations
from model.expectation.posterior import PIXELS, expected, responsibilities
from model.interface import Video

BOTH = [NEM.small(), RNEM.small()]


def binary(batch: int = 2, frames: int = 5, size: int = 16, channels: int = 3) -> Tensor:
    return (torch.rand(batch, frames, channels, size, size) > 0.7).float()


def moved(config: Expectation) -> ExpectationMaximisation:
    """With every weight moved, so that slots predict different things."""
    model = config.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pixels", ["bernoulli", "gaussian"])
def test_the_e_step_is_the_posterior_by_enumeration(pixels: str, channels: int) -> None:
    """Over all ways to give four pixels to three slots, by Bayes' rule with torch's own distributions."""
    frame, psi = (torch.rand(1, channels, 2, 2) > 0.5).double(), torch.rand(1, 3, channels, 2, 2).double()
    likelihood = torch.zeros(3, 4, dtype=torch.double)
    for k, i in product(range(3), range(4)):
        of_slot, seen = psi[0, k].flatten(1)[:, i], frame[0].flatten(1)[:, i]
        drawn: Any = Bernoulli(of_slot) if pixels == "bernoulli" else Normal(of_slot, 0.25)
        likelihood[k, i] = drawn.log_prob(seen).sum().exp()
    joint = {
        ways: torch.stack([likelihood[k, i] for i, k in enumerate(ways)]).prod()
        for ways in product(range(3), repeat=4)
    }
    total = sum(joint.values())
    marginal = torch.tensor(
        [[sum(p for ways, p in joint.items() if ways[i] == k) / total for i in range(4)] for k in range(3)]
    )
    gamma = responsibilities(frame, psi, PIXELS[pixels])
    torch.testing.assert_close(gamma[0, :, 0].flatten(1), marginal.double(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(gamma.sum(1), torch.ones_like(gamma[:, 0]))


def test_a_pixel_that_no_slot_explains_is_everyones() -> None:
    psi = torch.zeros(1, 4, 1, 1, 1)
    gamma = responsibilities(torch.ones(1, 1, 1, 1), psi, PIXELS["bernoulli"])
    torch.testing.assert_close(gamma, torch.full_like(gamma, 0.25))


@pytest.mark.parametrize("config", BOTH, ids=["n-em", "r-nem"])
def test_the_loss_is_that_of_a_plain_loop(config: Expectation) -> None:
    """Frame by frame and slot by slot, with torch's own divergences."""
    model, frames = moved(replace(config, inter_weight=0.4)).eval(), binary()
    out = model(Video(frames), 0)
    views = out.views
    losses = []
    for t in range(1, frames.shape[1]):
        for b in range(len(frames)):
            total = torch.zeros(())
            for k in range(config.slots):
                psi = views.slot_frames[b, t, k].clamp(1e-6, 1 - 1e-6)
                gamma = views.visible_masks[b, t, k]
                drawn = Bernoulli(psi)
                total += (-gamma * drawn.log_prob(frames[b, t])).sum()
                apart = kl_divergence(Bernoulli(torch.zeros_like(psi)), drawn)
                total += 0.4 * ((1 - gamma) * apart).sum()
            losses.append(total)
    torch.testing.assert_close(out.loss, torch.stack(losses).mean(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("config", BOTH, ids=["n-em", "r-nem"])
def test_slots_are_alike_but_for_their_first_share(config: Expectation) -> None:
    """Another order of the slots at first is that order of them in the end."""
    model, frames = moved(config).eval(), binary(1)[:, 0]
    order = torch.tensor([2, 0, 1])
    start = model._start(frames[:, None])
    other = State(*(part[:, order] for part in start))
    for state, others in zip(
        model._cell.predicted(start, frames), model._cell.predicted(other, frames), strict=True
    ):
        torch.testing.assert_close(state[:, order], others)
    assert not torch.allclose(start.gamma[:, 0], start.gamma[:, 1])


@pytest.mark.parametrize("config", BOTH, ids=["n-em", "r-nem"])
def test_nothing_flows_back_through_who_explains_what(config: Expectation) -> None:
    model, frames = moved(config), binary(1)[:, 0].requires_grad_()
    state, step = model._cell(model._start(frames[:, None]), Inputs(frames, frames.detach()))
    assert not state.gamma.requires_grad
    assert not step.gamma.requires_grad
    assert step.intra.requires_grad


@pytest.mark.parametrize("config", BOTH, ids=["n-em", "r-nem"])
@pytest.mark.parametrize("first_steps", [0, 2])
def test_a_roll_out_goes_on_where_the_clip_ends(config: Expectation, first_steps: int) -> None:
    """Its first frame is what the clip's own pass predicts of it, from the frames before alone."""
    model, frames = moved(replace(config, first_steps=first_steps)).eval(), binary()
    predictions = model(Video(frames), 0).views.prediction
    for t in range(1, 5):
        torch.testing.assert_close(model.predict(Video(frames[:, :t]), 1)[:, 0], predictions[:, t - 1])
    future = model.predict(Video(frames[:, :2]), 3)
    fed_back, _ = expected(moved_psi(model, frames[:, :2]), PIXELS["bernoulli"])
    torch.testing.assert_close(future[:, 0], fed_back)
    assert future.isfinite().all()


def moved_psi(model: ExpectationMaximisation, frames: Tensor) -> Tensor:
    _, state, _ = model._infer(frames)
    return model._cell.predicted(state, frames[:, -1])[1]


def test_steps_on_the_first_frame_explain_it() -> None:
    """Its masks are then inferred; a clip of the same frame, repeated, has them in the frame after as many steps."""
    torch.manual_seed(0)
    config = NEM.small()
    model, frame = moved(config).eval(), binary(1, 1)
    longer = replace(config, first_steps=3).build().eval()
    longer.load_state_dict(model.state_dict())
    still = frame.expand(-1, 5, -1, -1, -1)
    plain, stepped = (m(Video(still), 0).views for m in (model, longer))
    torch.testing.assert_close(stepped.visible_masks[:, :2], plain.visible_masks[:, 3:])
    torch.testing.assert_close(stepped.slot_frames[:, 0], plain.slot_frames[:, 3])
    assert stepped.visible_masks.shape[1] == stepped.slot_frames.shape[1] == 5
    assert stepped.prediction.shape[1] == 4


def test_relations_are_a_sum_over_the_other_slots() -> None:
    core = Relations(6, 8, 5)
    theta, seen = torch.rand(2, 4, 6), torch.randn(2, 4, 8)
    state, decoded = core(theta, seen)
    for b, k in product(range(2), range(4)):
        own = core.own(theta[b])
        total = torch.zeros(6)
        for i in range(4):
            if i != k:
                pair = core.pair(torch.cat([own[k], own[i]]))
                total = total + core.attention(pair) * core.effect(pair)
        before = core.layer(torch.cat([own[k], total, seen[b, k]]))
        torch.testing.assert_close(state[b, k], torch.sigmoid(before))
        torch.testing.assert_close(decoded[b, k], torch.sigmoid(core.norm(before)))


def test_noise_is_of_training_alone_and_inverts_a_fifth() -> None:
    model, frames = NEM(size=16).build(), binary(8, 4, channels=1)
    assert (model._noisy(frames) != frames).float().mean() == pytest.approx(0.2, abs=0.02)
    assert set(model._noisy(frames).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(model.eval()._noisy(frames), frames)
    added = NEM(size=16, pixels="gaussian").build()._noisy(frames) - frames
    assert added.std() == pytest.approx(0.2, abs=0.02)


def test_r_nem_has_the_released_number_of_weights() -> None:
    """4,939,218 without layer norms, whose two numbers a unit come on top: the sheet's sum, part by part."""
    parts = dict(RNEM().build().named_parameters())
    norms = sum(
        p.numel()
        for module in RNEM().build().modules()
        if isinstance(module, torch.nn.GroupNorm | torch.nn.LayerNorm)
        for p in module.parameters()
    )
    assert sum(p.numel() for p in parts.values()) - norms == 4_939_218


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"size": 20}, "size: got 20"),
        ({"slots": 1}, "slots: got 1"),
        ({"noise": 1.5}, "noise: got 1.5"),
        ({"noise": -0.1}, "noise: got -0.1"),
        ({"pixels": "poisson"}, "pixels: got 'poisson'"),
        ({"attention": 0}, "attention: got 0"),
    ],
)
def test_bad_fields_are_named(bad: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        RNEM(**bad)
