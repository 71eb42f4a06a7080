"""The direction trap: what the flow network shows as motion has the sign, the axes and the units of motion."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from data_shards.sources.moving_mnist import MovingMnist
from model.interface import Truth, Video
from model.video_autoencoder.flow import AEConvLSTMFlow, FlowAutoencoder
from model.video_autoencoder.flow_head import LAYOUTS, LargeConv
from trainer.scores.flow import true_flow


def transparent(config: AEConvLSTMFlow, gain: float, bias: float) -> FlowAutoencoder:
    """Encoder and decoder that pass the frame through: features are tanh of it at half the size."""
    model = config.build()
    assert isinstance(model, FlowAutoencoder)
    assert isinstance(model.encoder, nn.Sequential)
    assert isinstance(model.decoder, nn.Sequential)
    with torch.no_grad():
        for layer, value, offset in ((model.encoder[0], 1.0, 0.0), (model.decoder[-1], gain, bias)):
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            middle = layer.kernel_size[0] // 2
            layer.weight.zero_()[:, :, middle, middle] = value
            layer.bias.fill_(offset)
    return model


def head_bias(model: FlowAutoencoder) -> nn.Parameter:
    bias = model.head.layers[-1].bias
    assert isinstance(bias, nn.Parameter)
    return bias


def moving_digit(x: int, y: int, frames: int = 3) -> Tensor:
    """A binary 7 of 16x16 pixels that moves by (x, y) a frame, both even: pooling loses nothing."""
    images, labels = load_digits(return_X_y=True)
    digit = torch.from_numpy(images[labels == 7][0].reshape(8, 8) > 7).float()
    digit = digit.repeat_interleave(2, 0).repeat_interleave(2, 1)
    clip = torch.zeros(1, frames, 1, 40, 40)
    for t in range(frames):
        clip[0, t, 0, 12 + y * t : 28 + y * t, 12 + x * t : 28 + x * t] = digit
    return clip


@pytest.mark.parametrize(("x", "y"), [(4, 0), (-4, 0), (0, 4), (2, -4)])
def test_a_head_that_knows_the_motion_predicts_the_next_frame_and_shows_it(x: int, y: int) -> None:
    config = AEConvLSTMFlow(kernel=3, filters=1, hidden=2)
    model, video = transparent(config, gain=20.0, bias=-7.6), Video(moving_digit(x, y))
    # Sampling at half the size, from where things were.
    with torch.no_grad():
        head_bias(model).copy_(torch.tensor([-x / 2, -y / 2]))
    views = model(video, 0).views
    assert torch.equal(views.prediction > 0.5, video.frames[:, 1:] > 0.5)
    assert views.flow.shape == (1, 2, 2, 40, 40)
    assert (views.flow[:, :, 0] == x).all()
    assert (views.flow[:, :, 1] == y).all()
    with torch.no_grad():
        head_bias(model).neg_()
    assert not torch.equal(model(video, 0).views.prediction > 0.5, video.frames[:, 1:] > 0.5)


def test_learning_from_frames_alone_finds_the_motion() -> None:
    """Nothing here says which way flow points but the frames: a blob goes right by 1.5 and up by 1 pixel."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    frames = torch.stack(
        [0.3 * torch.exp(-((x - 12 - 1.5 * t) ** 2 + (y - 18 + t) ** 2) / 32) for t in range(4)]
    )
    video = Video(frames[None, :, None])
    model = transparent(AEConvLSTMFlow(kernel=3, filters=1, hidden=2, data="real"), gain=1.0, bias=0.0)
    optimizer = torch.optim.Adam([head_bias(model)], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        model(video, 0).loss.backward()
        optimizer.step()
    flow = model(video, 0).views.flow[0].mean((0, 2, 3))
    assert flow.tolist() == pytest.approx([1.5, -1.0], abs=0.15)


def test_training_on_moving_digits_finds_their_motion() -> None:
    """All weights from random, on digits of the one split, measured on digits of the other: sign, axes and rough size.

    From the decoder's bias of 0 it ends outside the frame instead: correlations of 0.1, an error of several pixels.
    """
    torch.manual_seed(0)
    source = MovingMnist(size=24, frames=6, objects=1)
    seen, unseen = digits(source, "train", 600), digits(source, "val", 64)
    model = AEConvLSTMFlow(filters=8, hidden=16, kernel=5, output_bias=-3.0).build()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    for _ in range(100):
        optimizer.zero_grad()
        model(Video(seen.frames[torch.randint(600, (16,))]), 0).loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.1)
        optimizer.step()
    with torch.no_grad():
        views = model(Video(unseen.frames), 0).views
    found, true = views.flow[:, -2:], true_flow(unseen)[:, -2:]
    on = unseen.truth.visible_ids[:, -2:] > 0
    for axis in (0, 1):
        assert torch.corrcoef(torch.stack([found[:, :, axis][on], true[:, :, axis][on]]))[0, 1] > 0.5
        other = torch.corrcoef(torch.stack([found[:, :, axis][on], true[:, :, 1 - axis][on]]))[0, 1]
        assert other.abs() < 0.35
    assert (
        torch.linalg.vector_norm(found - true, dim=2)[on].mean()
        < 0.8 * torch.linalg.vector_norm(true, dim=2)[on].mean()
    )


def digits(source: MovingMnist, split: str, count: int) -> Video:
    clips = [source.clip(split, index, seed=0) for index in range(count)]

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(clip, name) for clip in clips]))

    truth = Truth(visible_ids=stack("visible_ids").long(), velocities=stack("velocities"))
    return Video(stack("frames").permute(0, 1, 4, 2, 3).float() / 255, truth)


@pytest.mark.parametrize("head", LAYOUTS)
def test_flow_starts_at_zero_and_zero_flow_is_the_identity(head: str) -> None:
    model = AEConvLSTMFlow(kernel=3, filters=4, hidden=4, head=head).build()
    video = Video(torch.rand(2, 4, 1, 12, 16))
    views = model(video, 0).views
    assert views.flow.abs().max() == 0
    unmoved = model.decoder(model.encoder(video.frames[:, :-1].flatten(0, 1))).sigmoid()
    torch.testing.assert_close(views.prediction.flatten(0, 1), unmoved, atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", LAYOUTS)
def test_the_head_learns_from_the_second_update_on(head: str) -> None:
    model = AEConvLSTMFlow(kernel=3, filters=4, hidden=4, head=head).build()
    video = Video(torch.rand(2, 4, 1, 12, 16))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-2)
    first: Any = model.head.layers[0].weight
    for update in range(2):
        optimizer.zero_grad()
        model(video, 0).loss.backward()
        assert bool(first.grad.any()) == (update > 0)
        optimizer.step()
    assert model(video, 0).views.flow.abs().max() > 0


@pytest.mark.parametrize(("untied", "remat"), [(False, "none"), (True, "none"), (False, "every:2")])
def test_flow_is_held_at_zero_as_long_as_said_and_the_head_with_it(untied: bool, remat: str) -> None:
    config = AEConvLSTMFlow(kernel=3, filters=4, hidden=4, untied=untied, remat=remat, still_steps=3)
    model: Any = config.build()
    with torch.no_grad():
        head_bias(model).fill_(0.5)
    video = Video(torch.rand(2, 5, 1, 12, 16))
    for step, held in ((0, True), (2, True), (3, False)):
        model.zero_grad()
        output = model(video, step)
        output.loss.backward()
        assert bool((output.views.flow == 0).all()) == held
        assert bool((head_bias(model).grad == 0).all()) == held
        assert model.encoder[0].weight.grad.abs().max() > 0
    torch.testing.assert_close(
        model.predict(Video(video.frames[:, :-1]), 1), output.views.prediction[:, -1:], atol=1e-6, rtol=0
    )


def test_reach_bounds_the_flow() -> None:
    model = AEConvLSTMFlow(kernel=3, filters=1, hidden=2, reach=1.5).build()
    with torch.no_grad():
        head_bias(model).copy_(torch.tensor([-9.0, 0.5]))
    flow = model(Video(torch.rand(1, 3, 1, 8, 8)), 0).views.flow
    assert flow[:, :, 0].unique().tolist() == [3.0]  # frame pixels, two to a feature
    assert flow[:, :, 1].unique().tolist() == [-1.0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("kernel", "height", "width"), [(3, 5, 6), (15, 16, 16), (15, 4, 9)])
def test_large_convolutions_equal_torchs(kernel: int, height: int, width: int, bias: bool) -> None:
    layer = LargeConv(5, 2, kernel, padding=kernel // 2, bias=bias).double()
    x = torch.randn(3, 5, height, width, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(3, 2, height, width, dtype=torch.float64)
    theirs = F.conv2d(x, layer.weight, layer.bias, padding=kernel // 2)
    ours = layer(x)
    torch.testing.assert_close(ours, theirs)
    leaves = [x, *layer.parameters()]
    for a, b in zip(
        torch.autograd.grad(ours, leaves, upstream),
        torch.autograd.grad(theirs, leaves, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_large_convolutions_round_once_under_autocast() -> None:
    layer, x = LargeConv(8, 2, 15, padding=7), torch.rand(1, 8, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, layer(x), atol=2e-2, rtol=0)
