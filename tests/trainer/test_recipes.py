"""Recipes: what a paper states of its training is what the recipe resolves to."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from model import MODELS
from model.interface import Video
from trainer.optim import build_optimizer, learning_rate
from trainer.overrides import resolve
from trainer.recipes import RECIPES

AUTOENCODERS = [name for name in MODELS if name.startswith("ae-")]


def test_every_network_of_the_video_autoencoder_has_its_recipe() -> None:
    assert len(AUTOENCODERS) == 4
    for name in AUTOENCODERS:
        config = RECIPES[f"moving-mnist-{name}"]()
        model: Any = MODELS[name]()
        assert config.model == replace(model, output_bias=-3.0)
        assert config.output.endswith(name)


def test_camvid_trains_as_in_segnets_tutorial() -> None:
    """SGD with rate 0.1, momentum 0.9, weight decay 5e-4, batch 4, 10,000 iterations."""
    config = resolve("camvid-segnet")
    assert config.model == MODELS["segnet"]()
    assert (config.batch.size, config.steps) == (4, 10_000)
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = build_optimizer(config.optim, [weight])
    for _ in range(2):
        weight.grad = torch.tensor([1.0])
        optimizer.step()
    one = 2 - 0.1 * (1 + 5e-4 * 2)
    two = one - 0.1 * (0.9 * (1 + 5e-4 * 2) + 1 + 5e-4 * one)
    assert float(weight.detach()) == pytest.approx(two)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_moving_mnist_trains_as_in_section_4(name: str) -> None:
    """RMSprop, 1e-4, times 0.9 every five epochs of 10,000 clips, gradients clipped element by element."""
    config = resolve(f"moving-mnist-{name}")
    five_epochs = 5 * 10_000 // config.batch.size
    rates = [learning_rate(config.optim, step, config.steps) for step in (0, five_epochs - 1, five_epochs)]
    assert rates == pytest.approx([1e-4, 1e-4, 0.9e-4])
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([1e6, -1e-6])
    optimizer = build_optimizer(config.optim, [weight])
    optimizer.step()
    assert type(optimizer).__name__ == "RMSprop"
    assert weight.grad.tolist() == pytest.approx([config.optim.clip_value, -1e-6])


@pytest.mark.parametrize("name", ["ae-convlstm", "ae-convlstm-flow"])
def test_real_video_trains_as_in_section_4(name: str) -> None:
    """Squared error and Huber penalty; RMSprop, 1e-4, times 0.9 every five epochs of 107,000 frames in clips of 13."""
    config = resolve(f"hmdb51-{name}")
    start: dict[str, Any] = {"still_steps": 2575} if name.endswith("flow") else {}
    plain: Any = MODELS[name]()
    assert config.model == replace(plain, data="real", channels=3, output_bias=0.5, **start)
    assert getattr(config.model, "huber_weight", 1e-2) == 1e-2
    five_epochs = 5 * 107_000 / 13 / config.batch.size
    rate = [learning_rate(config.optim, step, config.steps) for step in range(0, 2 * round(five_epochs), 50)]
    assert (config.optim.name, rate[0]) == ("rmsprop", 1e-4)
    assert rate[-1] == pytest.approx(0.9e-4)
    assert rate.index(rate[-1]) * 50 == pytest.approx(five_epochs, abs=60)
    model = config.model.build()
    clip = torch.rand(1, 13, 3, 8, 8)
    output = model(Video(clip), 0)
    expected = {
        "ae-convlstm": {"squared_error"},
        "ae-convlstm-flow": {"squared_error", "smoothness", "flow_length"},
    }
    assert set(output.terms) == expected[name]
    assert output.views.prediction.shape == (1, 12, 3, 8, 8)
    assert float(output.views.prediction.mean()) == pytest.approx(0.5, abs=0.15)


def test_sqair_trains_as_released() -> None:
    """TensorFlow's RMSProp: the mean square starts at 1, epsilon is inside the root; lengths from 3 to 10."""
    config = resolve("sqair-mnist")
    assert config.model == MODELS["sqair-mlp"]()
    lengths = [config.batch.length(step, 10) for step in (0, 99_999, 100_000, 699_999, 700_000, 999_999)]
    assert lengths == [3, 3, 4, 9, 10, 10]
    assert learning_rate(config.optim, 400_000, config.steps) == pytest.approx(1e-5 / 3)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer(config.optim, [weight])
    for _ in range(2):
        weight.grad = torch.tensor([2.0])
        optimizer.step()
    one = 1e-5 * 2 / (0.9 + 0.1 * 4) ** 0.5
    two = 0.9 * one + 1e-5 * 2 / (0.9 * 1.3 + 0.1 * 4) ** 0.5
    assert float(weight.detach()) == pytest.approx(-(one + two), rel=1e-5)


def test_the_convolutional_sqair_trains_as_the_other() -> None:
    one, other = resolve("sqair-conv-mnist"), resolve("sqair-mnist")
    assert one.model == MODELS["sqair-conv"]()
    assert one == other.model_copy(update={"recipe": one.recipe, "model": one.model, "output": one.output})


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_the_baseline_of_sqair_trains_on_whole_clips(kind: str) -> None:
    config = resolve(f"vrnn-{kind}-mnist")
    assert config.model == MODELS[f"vrnn-{kind}"]()
    assert (config.optim.name, config.optim.lr, config.optim.momentum) == ("rmsprop-tf", 1e-5, 0.9)
    assert [config.batch.length(step, 10) for step in (0, 999_999)] == [10, 10]
    assert learning_rate(config.optim, 999_999, config.steps) == 1e-5


def test_the_demo_of_sqair_begins_as_air() -> None:
    config, air = resolve("sqair-demo"), resolve("air-demo")
    assert [config.batch.length(step, 10) for step in (0, 999, 1000)] == [1, 1, 3]
    assert [air.batch.length(step, 10) for step in (0, 999)] == [1, 1]
    scene = {field.name for field in fields(air.model)}
    assert all(getattr(config.model, name) == getattr(air.model, name) for name in scene)
    model = config.model.build()
    output = model(Video(torch.rand(2, 1, 1, 32, 32)), 0)
    assert set(output.terms) == {
        "bound", "log_likelihood", "kl", "objects", "discovered_first", "discovered_later",
    }  # fmt: skip
    assert output.loss.isfinite()


def test_iterative_inference_trains_as_the_paper_says() -> None:
    """Adam, 3e-4, gradients cut at norm 5; clips of 4 frames at first, of 40 at last, about 128 frames a batch."""
    config = resolve("balls-st-iterative")
    assert config.model == MODELS["st-iterative"]()
    model: Any = config.model
    assert (model.likelihood_weight, model.kl_weight, model.variance, model.decodes) == (100, 10, 0.3, 6)
    assert (config.optim.name, config.optim.lr, config.optim.clip_norm) == ("adam", 3e-4, 5.0)
    batches = [(s.overrides["batch.frames"], s.overrides["batch.size"]) for s in config.stages]
    assert (batches[0], batches[-1]) == ((4, 32), (40, 3))
    assert all(112 <= frames * clips <= 128 for frames, clips in batches)
    assert resolve("balls-iodine").batch.frames == 1


def test_the_demo_of_iterative_inference_begins_with_single_frames() -> None:
    config = resolve("balls-demo")
    first, second = (stage.overrides for stage in config.stages)
    assert (config.batch.frames, first, second["batch.frames"]) == (1, {}, None)
    model = config.model.build()
    rule, _ = config.stages[0].again
    shared = 16 * 16 * math.log(4)  # nats of masks of a frame, where four slots share all pixels alike
    assert (rule.metric, 0.6 * shared < rule.at_least < 0.8 * shared) == ("terms.mask_entropy", True)
    output = model(Video(torch.rand(2, 3, 3, 16, 16)), 0)
    assert set(output.terms) == {"nll", "kl", "mask_entropy", "explained_mse", "predicted_mse"}
    assert output.loss.isfinite()
    baselines = [
        resolve(f"balls-demo-{name}").model.build() for name in ("iodine", "seq-iodine", "n-em", "r-nem")
    ]
    assert all(baseline(Video(torch.rand(2, 3, 3, 16, 16)), 0).loss.isfinite() for baseline in baselines)
