"""Clips of the prior: counts, places, moves and presences have the frequencies that the prior says."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from model import MODELS
from model.interface import VideoModel
from model.schedule import Ramp
from model.sqair.model import MLPSQAIR

SMALL: dict[str, Any] = {name: config.small() for name, config in MODELS.items()}
CLIPS = 4000


def prior(**changed: Any) -> Any:
    """Nothing learnt of motion: what is expected of an object is what it was, presence by the bias alone."""
    usual: dict[str, Any] = {"count_prior": "odds", "where_prior": "fixed", "propagation_prior": "residual"}
    model = replace(MLPSQAIR.small(), **(usual | changed)).build().eval()
    torch.nn.init.zeros_(model.expectation.head.weight)
    torch.manual_seed(0)
    return model


@pytest.mark.parametrize("name", [name for name, config in SMALL.items() if config.generates])
def test_samples_are_drawn_from_torchs_generator(name: str) -> None:
    config = SMALL[name]
    model = config.build().eval()
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        views = model.sample(3, 4, 0)
        assert views.prediction.shape == (3, 4, config.channels, config.size, config.size)
        found.append(views.prediction)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    with pytest.raises(ValueError, match="need at least 1"):
        model.sample(0, 4, 0)
    with pytest.raises(ValueError, match="allowed are 0 to 3 objects"):
        model.sample(2, 4, 0, torch.tensor([1, 4]))


def test_counts_are_the_priors() -> None:
    """Odds 1: none 1/2, one 1/4, two 1/8, three 1/8. A learned table: softmax of it."""
    model = prior(log_odds=Ramp(0.0, 0.0))
    counts = model.sample(CLIPS, 1, 0).presence.sum(2)[:, 0].long()
    shares = torch.bincount(counts, minlength=4) / CLIPS
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.25, 0.125, 0.125]), atol=0.03, rtol=0)

    model = prior(count_prior="learned")
    torch.nn.init.zeros_(model.count_prior.layers[-1].weight)
    table = torch.tensor([0.0, 2.0, 1.0, 0.5])
    model.count_prior.bias.data.copy_(table)
    counts = model.sample(CLIPS, 1, 0).presence.sum(2)[:, 0].long()
    shares = torch.bincount(counts, minlength=4) / CLIPS
    torch.testing.assert_close(shares, torch.softmax(table, 0), atol=0.03, rtol=0)


def test_objects_move_and_vanish_as_expected_and_keep_their_numbers() -> None:
    model = prior(prior_bias=1.0, later_log_odds=-80.0, size_deviation=0.1)
    first = torch.arange(CLIPS) % 4
    views = model.sample(CLIPS, 3, 0, first)
    assert torch.equal(views.presence[:, 0].sum(1), first.float())
    there = views.presence[:, :2] > 0
    stays = (views.presence[:, 1:] > 0)[there].float().mean()
    assert float(stays) == pytest.approx(float(torch.sigmoid(torch.tensor(1.0))), abs=0.02)
    assert not (views.presence[:, 1:] > views.presence[:, :-1]).any()  # nothing new, and rows do not change
    numbers = torch.arange(1, 4).expand(CLIPS, 3)
    assert torch.equal(views.identities[:, 0], numbers * (numbers <= first[:, None]))
    kept = views.presence[:, 1] > 0
    assert torch.equal(views.identities[:, 1][kept], views.identities[:, 0][kept])
    centres = (views.boxes[..., :2] + views.boxes[..., 2:]) / 2  # of pixels 0.5 to 15.5
    places = torch.atanh(((centres - 0.5) / 7.5 - 1).clamp(-0.9999, 0.9999))
    inside = (kept & (centres[:, :2] - 8).abs().lt(7).all(1).all(-1))[..., None].expand(-1, -1, 2)
    assert float(places[:, 0][inside].mean()) == pytest.approx(0, abs=0.05)
    moves = (places[:, 1] - places[:, 0])[inside]
    assert float(moves.std()) == pytest.approx(0.16, abs=0.015)


def test_each_place_depends_on_the_one_before_it() -> None:
    """With hardly any noise, the learned prior's chain of places follows its own equation."""
    model = prior(where_prior="learned")
    head = model.where_prior.head
    torch.nn.init.normal_(head.weight, std=0.5)
    head.weight.data[4:], head.bias.data[4:] = 0, -30.0
    boxes = model.sample(50, 1, 0, torch.full((50,), 3)).boxes[:, 0]
    part = model.where_prior
    context = torch.cat([part.context_start, torch.zeros(model.config.hidden), torch.tensor([-0.5])])
    context = torch.nn.functional.elu(part.context(context))
    where, side = part.first, 16
    for k in range(3):
        where = head(torch.tanh(part.from_where(where) + part.from_context(context)))[:4].detach()
        size, centre = torch.sigmoid(where[:2]), torch.tanh(where[2:])
        box = torch.cat([centre - size + 1, centre + size + 1]) * (side - 1) / 2 + 0.5
        torch.testing.assert_close(boxes[:, k].mean(0), box, atol=0.1, rtol=0)
        torch.testing.assert_close(boxes[:, k].std(0), torch.zeros(4), atol=0.3, rtol=0)


@pytest.mark.parametrize("truncate", [False, True])
def test_there_are_no_more_objects_than_slots(truncate: bool) -> None:
    model = prior(truncate=truncate, log_odds=Ramp(3.0, 3.0), later_log_odds=0.0, prior_bias=0.0)
    views = model.sample(200, 6, 0)
    for clip in views.identities:
        known: dict[int, int] = {}
        for t, numbers in enumerate(clip.tolist()):
            present = [number for number in numbers if number]
            assert len(present) == len(set(present)) <= 3
            for number in present:
                assert t - known.get(number, t) <= 1  # none comes back
                known[number] = t
        assert sorted(known) == list(range(1, len(known) + 1))


def test_models_that_generate_say_so() -> None:
    for name, config in SMALL.items():
        overridden = type(config.build()).sample is not VideoModel.sample
        assert config.generates == overridden, name
