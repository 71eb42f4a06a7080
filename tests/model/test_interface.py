"""Views: every field that a family may fill, side by side, with the shapes checked."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from model.interface import Particles, Refinements, Truth, Video, Views
from trainer.scores import SCORES

B, T, S, Q, P, R, K = 2, 7, 5, 6, 3, 4, 2


def particles(**more: Tensor) -> Particles:
    return Particles(torch.randn(B, P), **more)


def full() -> Views:
    """Of a model that samples, refines and predicts: as many particles as frames are neither asked for nor there."""
    return Views(
        prediction=torch.rand(B, Q, 3, 8, 8),
        visible_masks=torch.rand(B, S, K, 8, 8) / K,
        boxes=torch.rand(B, S, K, 4),
        presence=torch.rand(B, S, K),
        flow=torch.randn(B, Q - 1, 2, 8, 8),
        particles=particles(
            log_likelihood=torch.randn(B, P, T), kl=torch.rand(B, P, T), counts=torch.randint(0, 3, (B, P, T))
        ),
        refinements=Refinements(torch.rand(B, S, R, K, 8, 8), torch.rand(B, S, R, 3, 8, 8)),
    )


def test_predictions_and_particles_may_differ_in_number() -> None:
    assert list(full().tensors()) == [
        "prediction", "visible_masks", "boxes", "presence", "flow", "particles.log_weights",
        "particles.log_likelihood", "particles.kl", "particles.counts", "refinements.masks", "refinements.frames",
    ]  # fmt: skip


def test_every_tensor_is_mapped_and_what_is_missing_stays_so() -> None:
    views = Views(particles=particles(), refinements=Refinements(frames=torch.rand(B, S, R, 3, 8, 8)))
    halves = views.map(lambda x: x / 2)
    assert list(halves.tensors()) == ["particles.log_weights", "refinements.frames"]
    for name, value in views.tensors().items():
        assert torch.equal(halves.tensors()[name], value / 2)
    assert halves.particles is not None
    assert halves.particles.kl is None


def test_views_of_batches_are_joined() -> None:
    whole = full()
    parts = [whole.map(lambda x: x[:1]), whole.map(lambda x: x[1:])]
    joined = Views.joined(parts).tensors()
    assert list(joined) == list(whole.tensors())
    assert all(torch.equal(value, joined[name]) for name, value in whole.tensors().items())
    with pytest.raises(ValueError):
        Views.joined([whole, Views(prediction=whole.prediction)])


def test_such_views_are_scored() -> None:
    video = Video(torch.rand(B, T, 3, 8, 8), Truth(visible_ids=torch.randint(0, 3, (B, T, 8, 8))))
    able = [name for name, score in SCORES.items() if not score.missing(full(), video)]
    assert {"psnr", "fg_ari_video", "warp_error"} <= set(able)
    for name in able:
        assert SCORES[name].measure(full(), video).shape[0] == B
    score = SCORES["psnr"]
    needy = type(score)(score.measure, "clip", ("particles.counts", "particles.log_weights"))
    assert needy.missing(full(), video) == []
    assert needy.missing(Views(particles=particles()), video) == ["views.particles.counts"]


def test_shapes_that_do_not_fit_are_refused() -> None:
    """The types are checked here, and in no run."""
    with pytest.raises(Exception, match="kl"):
        particles(kl=torch.rand(B, P + 1, T))
    with pytest.raises(Exception, match="slot_frames"):
        Views(visible_masks=torch.rand(B, S, K, 8, 8), slot_frames=torch.rand(B, S, K + 1, 3, 8, 8))


def test_every_tensor_over_frames_says_which() -> None:
    for part in (Views, Refinements):
        kinds = {entry.name: entry.metadata.get("frames") for entry in fields(part)}
        kinds = {name: kind for name, kind in kinds.items() if name not in ("particles", "refinements")}
        assert set(kinds.values()) <= {"first", "last"}, kinds
