"""What every model promises, for every row of MODELS: alignment, gradients, determinism, causality, remat, errors."""

import copy
import gc
import weakref
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from data_shards.field_docs import field_docs
from model import MODELS
from model.interface import ModelConfig, ModelOutput, Refinements, Video, VideoModel, Views

FRAMES = 7
LOOKS: dict[str, Any] = {
    "starts": "clip",
    "recognition": True,
    "evidence": "looks",
    "inertia": True,
    "mask_bias": -6.0,
}
COUNTS: dict[str, Any] = {
    "objective": "exact",
    "count_prior": "odds",
    "where_prior": "fixed",
    "decoder": "sigmoid",
    "mean_image": False,
}
CARRIED: dict[str, Any] = {
    "carried": True,
    "schedule": "constant",
    "likelihood": "mean",
    "decoder": "subpixel",
    "activation": "silu",
    "primed": True,
    "gradients": False,
    "noise": "once",
}
SMALL: dict[str, ModelConfig] = {name: model.small() for name, model in MODELS.items()} | {
    "object-discovery by looks": replace(MODELS["object-discovery"].small(), **LOOKS),
    "object-discovery by change": replace(
        MODELS["object-discovery"].small(), **LOOKS | {"starts": "change", "matching": 3}
    ),
    "air by counts": replace(MODELS["air"].small(), **COUNTS),
    "sqair-mlp by counts": replace(
        MODELS["sqair-mlp"].small(), **COUNTS | {"propagation_prior": "residual", "covariance": "diagonal"}
    ),
    "st-iterative departing": replace(MODELS["st-iterative"].small(), **CARRIED),
}

# What batch normalisation may change in a forward pass.
RUNNING = ("running_mean", "running_var", "num_batches_tracked")


def clip(batch: int = 2, frames: int = FRAMES) -> Video:
    return Video(torch.rand(batch, frames, 3, 16, 16), labels=torch.randint(-1, 3, (batch, frames, 16, 16)))


def awake(name: str, **changes: Any) -> VideoModel:
    """The small model with every weight moved, so that layers that start at zero pass gradients on."""
    model = replace(SMALL[name], **changes).build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def backward(model: VideoModel, video: Video, step: int = 5) -> tuple[ModelOutput, list[Tensor]]:
    torch.manual_seed(3)
    model.zero_grad()
    out = model(video, step)
    if out.loss.requires_grad:
        out.loss.backward()
    return out, [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.fixture(params=sorted(SMALL))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_defaults_build(name: str) -> None:
    assert isinstance(type(SMALL[name])().build(), VideoModel)


def test_every_field_says_what_it_means(name: str) -> None:
    docs = field_docs(type(SMALL[name]))
    for field in fields(type(SMALL[name])):
        assert len(docs[field.name]) > 8, field.name
        assert docs[field.name].endswith("."), field.name


def test_views_are_aligned_detached_and_in_range(name: str) -> None:
    video = clip()
    out = awake(name)(video, 0)
    present = out.views.tensors()
    assert present, "a model shows something"
    declared: dict[str, Any] = {f.name: f.metadata for f in fields(Views)}
    declared |= {f"refinements.{f.name}": f.metadata for f in fields(Refinements)}
    for field, value in present.items():
        assert not value.requires_grad, field
        assert value.isfinite().all(), field
        if not field.startswith("particles."):
            assert declared[field]["frames"] in ("first", "last")
            assert 1 <= value.shape[1] <= FRAMES, field
    assert ("prediction" in present) == type(SMALL[name]).predicts
    if (masks := present.get("visible_masks")) is not None:
        assert masks.min() >= 0
        assert masks.sum(2).max() <= 1 + 1e-4
    if (masks := present.get("amodal_masks")) is not None:
        assert 0 <= masks.min() <= masks.max() <= 1
    per_slot = {value.shape[1:3] for f, value in present.items() if declared.get(f, {}).get("slots")}
    assert len(per_slot) <= 1, "slot views agree on frames and slots"


def test_views_are_made_without_the_graph(name: str) -> None:
    """Who keeps the views, or what makes them, keeps neither the loss nor the graph behind it."""
    out = awake(name)(clip(), 5)
    held = watched_graph(out.loss)
    show = out.show
    del out
    gc.collect()
    assert all(ref() is None for ref in held)
    assert show().tensors()


def watched_graph(loss: Tensor) -> list[Any]:
    """A weak reference into each node of the graph but the weights' own, which outlive it."""

    class Hook:
        def __call__(self, *_: object) -> None: ...

    held, nodes, known = [], [loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in known and not hasattr(node, "variable"):
            hook = Hook()
            node.register_hook(hook)
            held.append(weakref.ref(hook))
            known.add(node)
            nodes += [following for following, _ in node.next_functions]
    return held


def test_the_prediction_is_aligned_with_the_end(name: str) -> None:
    """The reconstruction term of an unweighted model is the mean error against the last p frames, no others."""
    out = awake(name).eval()(video := clip(), 0)
    prediction = out.views.prediction
    if prediction is None or "reconstruction" not in out.terms:
        pytest.skip("no prediction with a reconstruction term")
    target = video.frames[:, -prediction.shape[1] :]
    torch.testing.assert_close(out.terms["reconstruction"], (prediction - target).abs().mean())


def test_the_loss_is_a_finite_scalar_and_the_terms_are_detached(name: str) -> None:
    out = awake(name)(clip(), 3)
    assert out.loss.shape == ()
    assert out.loss.isfinite()
    assert out.terms
    for term, value in out.terms.items():
        assert value.shape == (), term
        assert value.isfinite(), term
        assert not value.requires_grad, term


def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = awake(name)
    backward(model, clip())
    dead = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_eval_is_a_function_of_weights_clips_and_generators(name: str) -> None:
    """And draws nothing, unless the model says that it samples."""
    model, video = awake(name).eval(), clip()
    torch.manual_seed(1)
    first, state = model(video, 5), torch.get_rng_state()
    for seed in (1, 1 if model.samples else 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        again = model(video, 5)
        assert torch.equal(first.loss, again.loss)
        assert list(first.views.tensors()) == list(again.views.tensors())
        for field, value in first.views.tensors().items():
            assert torch.equal(value, again.views.tensors()[field]), field
        assert torch.equal(torch.get_rng_state(), state if model.samples else before)


def test_the_other_clips_of_a_batch_do_not_matter(name: str) -> None:
    model, video = awake(name).eval(), clip(batch=3)
    if model.samples:
        pytest.skip("is shown a clip at a time")
    together = model(video, 5).views.tensors()
    for i in range(3):
        for field, value in model(Video(video.frames[i : i + 1]), 5).views.tensors().items():
            torch.testing.assert_close(value[0], together[field][i], atol=1e-5, rtol=1e-5)


def test_forward_changes_nothing_in_the_model(name: str) -> None:
    model = awake(name)
    before = copy.deepcopy(model.state_dict())
    attributes = set(vars(model))
    model(clip(), 5)
    after = {key: value for key, value in model.state_dict().items() if not key.endswith(RUNNING)}
    assert all(torch.equal(value, before[key]) for key, value in after.items())
    assert set(vars(model)) == attributes
    before = copy.deepcopy(model.eval().state_dict())
    model(clip(), 5)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("changed", [2, 4, FRAMES - 1])
def test_a_frame_cannot_change_earlier_predictions(name: str, changed: int) -> None:
    """Nor that of itself: predictions of frames <= t are made from frames < t."""
    model, video = awake(name).eval(), clip()
    other = Video(video.frames.clone())
    other.frames[:, changed] = torch.rand_like(other.frames[:, changed])
    a, b = model(video, 5).views, model(other, 5).views
    if a.prediction is None:
        pytest.skip("predicts no frames")
    first = FRAMES - a.prediction.shape[1]
    upto = max(0, changed - first + 1)
    assert torch.equal(a.prediction[:, :upto], b.prediction[:, :upto])
    if upto < a.prediction.shape[1]:
        assert not torch.equal(a.prediction[:, upto:], b.prediction[:, upto:])


@pytest.mark.parametrize("changed", [2, FRAMES - 1])
def test_a_frame_cannot_change_earlier_labels(name: str, changed: int) -> None:
    model, video = awake(name).eval(), clip()
    other = Video(video.frames.clone())
    other.frames[:, changed] = torch.rand_like(other.frames[:, changed])
    a, b = model(Video(video.frames), 5).views.labels, model(other, 5).views.labels
    if a is None:
        pytest.skip("finds no classes")
    assert torch.equal(a[:, :changed], b[:, :changed])
    assert not torch.equal(a[:, changed], b[:, changed])


def test_labels_are_for_training_alone(name: str) -> None:
    """They teach and are not shown: views are the same without them."""
    model, video = awake(name).eval(), clip()
    told, untold = model(video, 5), model(Video(video.frames), 5)
    mine, theirs = told.views.tensors(), untold.views.tensors()
    assert list(mine) == list(theirs)
    for field, value in mine.items():
        assert torch.equal(value, theirs[field]), field
    assert torch.equal(told.loss, untold.loss) != (SMALL[name].classes > 0)


@pytest.mark.parametrize("policy", ["every:2", "every:4", "sqrt"])
def test_rematerialisation_changes_neither_loss_nor_gradients(name: str, policy: str) -> None:
    model, video = awake(name), clip()
    recomputing = replace(SMALL[name], remat=policy).build()
    recomputing.load_state_dict(model.state_dict())
    expected, gradients = backward(model, video)
    actual, recomputed = backward(recomputing, video)
    assert torch.equal(actual.loss, expected.loss)
    for mine, theirs in zip(recomputed, gradients, strict=True):
        # Sums over time are made in another order: an element is as exact as the largest of its weight allows.
        largest = max(1.0, float(theirs.abs().max()))
        torch.testing.assert_close(mine, theirs, atol=1e-6 * largest, rtol=1e-5)
    for key, value in recomputing.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), f"{key}: recomputing has changed it once more"


def test_a_budget_too_small_to_train_with_changes_no_evaluation(name: str) -> None:
    """Scores are taken on other batches than those trained on."""
    model, video = awake(name).eval(), clip(batch=4)
    tight = replace(SMALL[name], remat="bytes:1").build().eval()
    tight.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(tight(video, 5).loss, model(video, 5).loss)
    if type(SMALL[name]).predicts:
        torch.testing.assert_close(tight.predict(video, 2), model.predict(video, 2))


def test_training_draws_only_from_torchs_generators(name: str) -> None:
    model, video = awake(name), clip()
    first, second = backward(model, video)[0].loss, backward(model, video)[0].loss
    assert torch.equal(first, second)


def test_weights_survive_the_round_trip(name: str) -> None:
    model, video = awake(name).eval(), clip()
    fresh = SMALL[name].build()
    fresh.load_state_dict(copy.deepcopy(model.state_dict()))
    assert torch.equal(fresh.eval()(video, 5).loss, model(video, 5).loss)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_roll_out_has_the_asked_length_and_starts_with_the_prediction(name: str, horizon: int) -> None:
    model, video = awake(name).eval(), clip()
    if not type(SMALL[name]).predicts:
        assert model(video, 5).views.prediction is None
        with pytest.raises(ValueError, match="predicts no frames"):
            model.predict(Video(video.frames[:, :-1]), horizon)
        return
    future = model.predict(Video(video.frames[:, :-1]), horizon)
    assert future.shape == (2, horizon, 3, 16, 16)
    assert not future.requires_grad
    prediction = model(video, 10**9).views.prediction
    if prediction is not None:
        torch.testing.assert_close(future[:, 0], prediction[:, -1])


def test_refuses_a_horizon_of_nothing_and_a_clip_with_nothing_to_predict(name: str) -> None:
    model, video = awake(name).eval(), clip()
    with pytest.raises(ValueError, match=r"horizon|predicts no frames"):
        model.predict(video, 0)
    if not type(SMALL[name]).predicts or type(SMALL[name]).alone:
        return  # it is for single frames too
    with pytest.raises(ValueError, match=r"frame|1x3x16x16"):
        model(Video(video.frames[:, :1]), 0)


def test_bf16_autocast_trains(name: str) -> None:
    model, video = awake(name), clip()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(video, 5)
    assert out.loss.dtype == torch.float32
    if out.loss.requires_grad:
        out.loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
