"""The four networks: sizes, wiring against independent loops, losses, options, roll-outs."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.interface import Video
from model.video_autoencoder.autoencoder import Autoencoder
from model.video_autoencoder.convolutional import AEConv
from model.video_autoencoder.flow import AEConvLSTMFlow
from model.video_autoencoder.recurrent import AEConvLSTM, AEFcLSTM

TINY: dict[str, Any] = {
    "ae-conv": AEConv(kernel=3, filters=3, inputs=3, hidden=4),
    "ae-fclstm": AEFcLSTM(kernel=3, filters=3, deep_filters=2, size=8, hidden=5),
    "ae-convlstm": AEConvLSTM(kernel=3, filters=3, hidden=4),
    "ae-convlstm-flow": AEConvLSTMFlow(kernel=3, filters=3, hidden=4),
}
RELEASED = AEConvLSTMFlow(
    filters=32, hidden=45, forget_bias=0.0, head="released", reach=7.75,
    data="real", error="gradients", huber_weight=0.0, supervision="last",
)  # fmt: skip


def binary(batch: int = 2, frames: int = 6, size: int = 8) -> Video:
    return Video((torch.rand(batch, frames, 1, size, size) < 0.3).float())


def awake(config: Autoencoder) -> Any:
    """The network with every weight moved, so that nothing is zero by its start."""
    model = config.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def gradients(model: Any, video: Video) -> list[Tensor]:
    model.zero_grad()
    model(video, 0).loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


COUNTS = [
    (AEConv(), 109_073),
    (AEFcLSTM(), 33_623_649),
    (AEConvLSTM(), 1_256_305),
    *((AEConvLSTMFlow(head=head), 1_035_067) for head in "abcde"),
    (AEConvLSTMFlow(head="literal"), 1_035_071),
    (AEConvLSTMFlow(head="released"), 1_035_073),
    (AEConvLSTMFlow(channels=3), 1_038_205),
    (RELEASED, 703_651),
    (replace(RELEASED, untied=True), 915_466),
]


@pytest.mark.parametrize(("config", "count"), COUNTS)
def test_parameters_are_as_many_as_published(config: Autoencoder, count: int) -> None:
    with torch.device("meta"):
        model = config.build()
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize("name", TINY)
def test_weights_start_as_in_section_4(name: str) -> None:
    full: dict[str, Any] = {"kernel": 7, "filters": 16, "hidden": 32}
    for key, weight in replace(TINY[name], **full).build().named_parameters():
        if key == "head.layers.2.weight" or key.endswith("bias"):
            forget = weight.chunk(4)[1] if "memory" in key else weight[:0]
            assert (forget == 1).all()
            assert weight.sum() == forget.numel()
        elif "memory" in key:
            assert 0.078 < weight.abs().max() <= 0.08
        else:
            area = math.prod(weight.shape[2:])
            bound = math.sqrt(6 / ((weight.shape[0] + weight.shape[1]) * area))
            assert 0.9 * bound < weight.abs().max() <= bound + 1e-6


def test_conv_lstm_network_equals_a_loop_in_double_precision() -> None:
    """Figure 4, frame by frame: conv, tanh, pool, two ConvLSTMs, up, conv."""
    model, video = awake(TINY["ae-convlstm"]), binary()
    weights = {key: value.double() for key, value in model.state_dict().items()}
    states = [[torch.zeros(2, n, 4, 4).double() for _ in range(2)] for n in (4, 3)]
    expected = []
    for frame in video.frames[:, :-1].double().unbind(1):
        x = F.conv2d(frame, weights["encoder.0.weight"], weights["encoder.0.bias"], padding=1)
        x = F.max_pool2d(torch.tanh(x), 2)
        for n, (h, c) in enumerate(states):
            prefix = f"memory.layers.{n}"
            gates = F.conv2d(
                x, weights[f"{prefix}.input_conv.weight"], weights[f"{prefix}.input_conv.bias"], padding=1
            ) + F.conv2d(h, weights[f"{prefix}.hidden_conv.weight"], padding=1)
            i, f, o, g = gates.chunk(4, 1)
            c = c * torch.sigmoid(f) + torch.tanh(g) * torch.sigmoid(i)
            x = torch.sigmoid(o) * torch.tanh(c)
            states[n] = [x, c]
        up = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        logits = F.conv2d(up, weights["decoder.1.weight"], weights["decoder.1.bias"], padding=1)
        expected.append(torch.sigmoid(logits))
    prediction = model(video, 0).views.prediction
    torch.testing.assert_close(prediction.double(), torch.stack(expected, 1), atol=1e-6, rtol=0)


def test_fully_connected_memory_equals_torchs_lstm() -> None:
    """torch has two biases a gate, of which one stays zero, and its gates in the order i, f, g, o."""
    memory = awake(TINY["ae-fclstm"]).memory
    theirs, d = nn.LSTM(5, 5, num_layers=2, batch_first=True), 5
    order = torch.cat([torch.arange(0, 2 * d), torch.arange(3 * d, 4 * d), torch.arange(2 * d, 3 * d)])
    with torch.no_grad():
        for n, layer in enumerate(memory.layers):
            getattr(theirs, f"weight_ih_l{n}").copy_(layer.input_conv.weight[order, :, 0, 0])
            getattr(theirs, f"weight_hh_l{n}").copy_(layer.hidden_conv.weight[order, :, 0, 0])
            getattr(theirs, f"bias_ih_l{n}").copy_(layer.input_conv.bias[order])
            getattr(theirs, f"bias_hh_l{n}").zero_()
    x = torch.randn(2, 6, 5)
    projected, state, outputs = memory.inputs(x[..., None, None]), memory.zero_state(x[..., None, None]), []
    for t in range(6):
        state = memory.step(state, projected[:, t])
        outputs.append(state[-1].hidden[..., 0, 0])
    torch.testing.assert_close(torch.stack(outputs, 1), theirs(x)[0], atol=1e-6, rtol=0)


def test_untied_first_step_has_weights_of_its_own_and_then_the_memory_goes_on() -> None:
    config = replace(TINY["ae-convlstm-flow"], untied=True)
    model, video = awake(config), binary(frames=4)
    w = model.state_dict()
    features = model.encoder(video.frames[:, 0])
    i, o, g = (
        F.conv2d(features, w["first.conv.weight"][n : n + 4], w["first.conv.bias"][n : n + 4], padding=1)
        for n in (0, 4, 8)
    )
    cell = torch.sigmoid(i) * torch.tanh(g)
    hidden = torch.sigmoid(o) * torch.tanh(cell)
    flows = [model.head(hidden)]
    state = (type(model.start(video.frames)[0])(hidden, cell),)
    for t in (1, 2):
        inputs = model.memory.inputs(model.encoder(video.frames[:, t])[:, None])[:, 0]
        state = model.memory.step(state, inputs)
        flows.append(model.head(state[0].hidden))
    expected = -2 * F.interpolate(torch.cat(flows), scale_factor=2)
    flow = model(video, 0).views.flow
    torch.testing.assert_close(flow, torch.stack(expected.split(2), 1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("frames", [2, 4])
@pytest.mark.parametrize(
    "config",
    [
        replace(TINY["ae-conv"], inputs=1),
        TINY["ae-fclstm"],
        TINY["ae-convlstm"],
        TINY["ae-convlstm-flow"],
        replace(TINY["ae-convlstm-flow"], untied=True),
    ],
)
def test_the_last_prediction_is_the_same_whether_the_others_are_made(
    config: Autoencoder, frames: int
) -> None:
    each, video = awake(config), binary(frames=frames)
    last = replace(config, supervision="last").build()
    last.load_state_dict(each.state_dict())
    full, short = each(video, 0).views.prediction, last(video, 0)
    assert full.shape[1] == frames - 1
    assert short.views.prediction.shape[1] == 1
    torch.testing.assert_close(short.views.prediction, full[:, -1:])
    error = F.binary_cross_entropy(full[:, -1], video.frames[:, -1])
    torch.testing.assert_close(short.terms["cross_entropy"], error)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("data", ["binary", "real"])
def test_the_error_is_the_mean_against_the_last_frames(name: str, data: str) -> None:
    video = binary()
    out = awake(replace(TINY[name], data=data))(video, 0)
    p = out.views.prediction
    assert 0 <= p.min() < p.max() <= 1
    target = video.frames[:, -p.shape[1] :]
    assert p.shape[1] == (3 if name == "ae-conv" else 5)
    if data == "binary":
        expected = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
        torch.testing.assert_close(out.terms["cross_entropy"], expected)
    else:  # views cut what the loss sees whole
        cut = (p - target).square().mean()
        assert out.terms["squared_error"] >= cut - 1e-7


def test_squared_error_is_of_the_frames() -> None:
    """No pixel is cut: the decoder's bias alone, 0.25, is the prediction."""
    model, video = constant(AEConvLSTM(data="real", kernel=3), 0.25), binary()
    out = model(video, 0)
    assert (out.views.prediction == 0.25).all()
    share = video.frames[:, 1:].mean()
    torch.testing.assert_close(out.terms["squared_error"], share * 0.75**2 + (1 - share) * 0.25**2)


def constant(config: Autoencoder, output: float) -> Any:
    model: Any = config.build()
    decoder = model.decoder[-1]
    nn.init.zeros_(decoder.weight)
    nn.init.constant_(decoder.bias, output)
    return model


def test_cross_entropy_of_the_mean_is_the_entropy() -> None:
    video = binary(batch=4)
    p = video.frames[:, 1:].mean().item()
    loss = constant(AEConvLSTM(kernel=3), math.log(p / (1 - p)))(video, 0).loss.item()
    assert loss == pytest.approx(-p * math.log(p) - (1 - p) * math.log(1 - p), rel=1e-5)


def test_gradient_error_is_the_released_codes() -> None:
    """Squared differences of image gradients by [-1, 0, 1]: brightness is free, contrast is not."""
    model, video = awake(replace(TINY["ae-convlstm"], data="real", error="gradients")), binary()
    _, decoded = model.advance(None, video.frames[:, :-1])
    difference = (decoded["output"] - video.frames[:, 1:]).flatten(0, 1)
    stencil = torch.tensor([-1.0, 0.0, 1.0])
    along_x = F.conv2d(difference, stencil.view(1, 1, 1, 3))
    along_y = F.conv2d(difference, stencil.view(1, 1, 3, 1))
    before = model(video, 0).terms["gradient_error"]
    torch.testing.assert_close(before, (along_x.square().mean() + along_y.square().mean()) / 2)
    with torch.no_grad():
        model.decoder[-1].bias.add_(5.0)
    torch.testing.assert_close(model(video, 0).terms["gradient_error"], before, rtol=1e-4, atol=0)


@pytest.mark.parametrize("remat", ["none", "every:2"])
@pytest.mark.parametrize("changes", [{}, {"untied": True}, {"supervision": "last"}])
def test_injected_smoothness_gives_the_gradients_of_the_term(changes: dict[str, Any], remat: str) -> None:
    weights = {"huber_weight": 3.0, "huber_delta": 0.05}
    config = replace(TINY["ae-convlstm-flow"], **weights, **changes)
    term, video = awake(config), binary(frames=6)
    injected = replace(config, smoothness="injected", remat=remat).build()
    injected.load_state_dict(term.state_dict())
    plain = replace(config, huber_weight=0.0).build()
    plain.load_state_dict(term.state_dict())
    with_term, without = gradients(term, video), gradients(plain, video)
    for ours, theirs in zip(gradients(injected, video), with_term, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
    assert any(not torch.allclose(a, b, rtol=0.05) for a, b in zip(with_term, without, strict=True))
    a, b = term(video, 0), injected(video, 0)
    torch.testing.assert_close(a.loss, b.loss + 3.0 * b.terms["smoothness"])
    torch.testing.assert_close(a.terms["smoothness"], b.terms["smoothness"])


@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize("name", TINY)
def test_a_roll_out_goes_on_as_if_its_frames_had_been_seen(name: str, frames: int) -> None:
    model, seen = awake(TINY[name]), binary(frames=frames).frames
    future = model.predict(Video(seen), 3)
    assert future.shape == (2, 3, 1, 8, 8)
    for n in range(3):
        again = model.predict(Video(torch.cat([seen, future[:, :n]], 1)), 1)
        torch.testing.assert_close(again[:, 0], future[:, n], atol=1e-6, rtol=1e-5)


def test_the_window_of_the_convolutional_network_slides() -> None:
    model, video = awake(TINY["ae-conv"]), binary(frames=6)
    whole = model(video, 0).views.prediction
    for last in range(3):
        part = model(Video(video.frames[:, last : last + 4]), 0).views.prediction
        torch.testing.assert_close(whole[:, last : last + 1], part)


def test_the_convolutional_network_sees_the_oldest_frame_first() -> None:
    """The order of its input channels is part of what a checkpoint means."""
    model, frames = awake(TINY["ae-conv"]), torch.rand(2, 3, 1, 16, 16)
    _, decoded = model.advance(None, frames)
    torch.testing.assert_close(decoded["output"][:, 0], model.layers(frames.flatten(1, 2)))


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (AEConv(), {"inputs": 0}, "inputs: got 0"),
        (AEConv(), {"kernel": 4}, "kernel: got 4"),
        (AEConv(), {"data": "grey"}, "data: got 'grey', allowed are binary, real"),
        (AEConv(), {"error": "gradients"}, "needs data 'real'"),
        (AEConv(), {"remat": "often"}, "remat"),
        (AEConvLSTM(), {"supervision": "some"}, "supervision: got 'some'"),
        (AEConvLSTM(), {"hidden": 0}, "hidden: got 0"),
        (AEConvLSTM(), {"spread": -1.0}, "spread: got -1.0"),
        (AEFcLSTM(), {"size": 30}, "size: got 30, needs a multiple of 4"),
        (AEConvLSTMFlow(), {"head": "f"}, "head: got 'f'"),
        (AEConvLSTMFlow(), {"huber_delta": 0.0}, "huber_delta: got 0.0"),
        (AEConvLSTMFlow(), {"smoothness": "yes"}, "smoothness: got 'yes'"),
        (AEConvLSTMFlow(), {"reach": -1.0}, "reach: got -1.0"),
    ],
)
def test_configs_refuse(config: Autoencoder, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **change)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("ae-convlstm", (1, 4, 3, 8, 8), "have 3 channels, the model takes 1"),
        ("ae-convlstm", (1, 1, 1, 8, 8), "have 1 frames, the model needs 2 or more"),
        ("ae-convlstm", (1, 4, 1, 8, 9), "8 x 9 pixels, the model needs multiples of 2"),
        ("ae-fclstm", (1, 4, 1, 16, 16), "16 x 16 pixels, the model takes 8 x 8"),
        ("ae-conv", (1, 3, 1, 8, 8), "have 3 frames, the model needs 4 or more"),
    ],
)
def test_frames_that_do_not_fit_are_named(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TINY[name].build()(Video(torch.rand(shape)), 0)


def test_a_roll_out_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="horizon: got 0"):
        TINY["ae-convlstm"].build().predict(binary(), 0)
