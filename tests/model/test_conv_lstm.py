"""The ConvLSTM against a loop over its equations in double precision."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.layers.conv_lstm import ConvLSTM, ConvLSTMState
from model.remat import Remat
from model.unroll import unroll


def written_out(layer: ConvLSTM, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shi et al. 2015, eq. 3 without peepholes, one gate and one frame at a time, from the layer's weights."""
    wx, wh, b = layer.input_conv.weight, layer.hidden_conv.weight, layer.input_conv.bias
    assert b is not None
    d, pad, hiddens = h.shape[1], wx.shape[-1] // 2, []
    for t in range(x.shape[1]):
        i, f, o, g = (
            F.conv2d(x[:, t], wx[n * d : (n + 1) * d], b[n * d : (n + 1) * d], padding=pad)
            + F.conv2d(h, wh[n * d : (n + 1) * d], padding=pad)
            for n in range(4)
        )
        c = 1 / (1 + torch.exp(-f)) * c + 1 / (1 + torch.exp(-i)) * torch.tanh(g)
        h = 1 / (1 + torch.exp(-o)) * torch.tanh(c)
        hiddens.append(h)
    return torch.stack(hiddens, 1), h, c


# Maps of 1 pixel are convolved ahead of time, the others step by step; the largest take the one operation for gates.
@pytest.mark.parametrize(
    ("kernel", "hidden", "size"),
    [(1, 3, (6, 5)), (5, 3, (1, 1)), (3, 3, (6, 5)), (5, 3, (6, 5)), (3, 9, (31, 30))],
)
@pytest.mark.parametrize("remat", ["none", "every:3"])
def test_agrees_with_the_equations(
    kernel: int, hidden: int, size: tuple[int, int], remat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Lowered, so that maps that are quick to test are large.
    monkeypatch.setattr("model.layers.lstm_gates.LARGE", 4 * 9 * 31 * 30)
    layer = ConvLSTM(2, hidden, kernel)
    x = torch.randn(2, 7, 2, *size)
    state = ConvLSTMState(torch.rand(2, hidden, *size) - 0.5, torch.randn(2, hidden, *size))

    def outcome(double: bool) -> list[Tensor]:
        dtype = torch.float64 if double else torch.float32
        layer.to(dtype).zero_grad()
        leaves = [v.detach().to(dtype, copy=True).requires_grad_() for v in (x, *state)]
        if double:
            y, h, c = written_out(layer, *leaves)
        else:
            start = ConvLSTMState(*leaves[1:])
            weights = layer.weights(start)
            assert (weights is None) == (size == (1, 1))

            def step(s: ConvLSTMState, p: Tensor) -> tuple[ConvLSTMState, Tensor]:
                after = layer.step(s, p, weights)
                return after, after.hidden

            end, y = unroll(step, start, leaves[0], remat=Remat.parse(remat), prepare=layer.inputs)
            h, c = end
        (y.square().mean() + h.mean() + c.square().mean()).backward()
        grads = [v.grad for v in (*leaves, *layer.parameters())]
        assert all(g is not None for g in grads)
        return [y.detach(), h.detach(), c.detach(), *(g.clone() for g in grads if g is not None)]

    for single, double in zip(outcome(False), outcome(True), strict=True):
        torch.testing.assert_close(single.double(), double, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [1, 6])
def test_how_convolutions_are_made_is_a_matter_of_size_and_speed_alone(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = ConvLSTM(2, 3, 3).double()
    x, results = torch.randn(2, 4, 2, size, size, dtype=torch.float64), []
    assert (layer.inputs(x).shape[2] == 12) == (size == 1)
    for hoisted, joined in ((True, False), (False, True), (False, False)):
        monkeypatch.setattr("model.layers.conv_lstm.HOISTED", 0 if hoisted else 1000)
        layer.zero_grad()
        state, inputs = layer.zero_state(x), layer.inputs(x)
        weights = layer.weights(state)
        assert (inputs.shape[2] == 12) == hoisted
        assert (weights is None) == hoisted
        for t in range(4):
            state = layer.step(state, inputs[:, t], weights if joined else None)
        state.hidden.square().sum().backward()
        grads = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
        assert len(grads) == 3
        results.append([*state, *grads])
    for ahead, together, apart in zip(*results, strict=True):
        torch.testing.assert_close(together, ahead, atol=1e-12, rtol=0)
        torch.testing.assert_close(apart, ahead, atol=1e-12, rtol=0)


def test_weights_are_one_of_each_kind() -> None:
    layer = ConvLSTM(2, 3, 3)
    assert list(layer.state_dict()) == ["input_conv.weight", "input_conv.bias", "hidden_conv.weight"]


@pytest.mark.parametrize("size", [1, 6])
def test_keeps_its_state_in_full_precision_under_autocast(size: int) -> None:
    layer, x = ConvLSTM(2, 3, 3), torch.randn(2, 4, 2, size, size)
    full, half = layer.zero_state(x), layer.zero_state(x)
    with torch.autocast("cpu", torch.bfloat16):
        weights = layer.weights(half)
    assert (weights is None) == (size == 1)
    assert weights is None or {w.dtype for w in weights} == {torch.bfloat16}  # cast once, not every step
    for t in range(4):
        full = layer.step(full, layer.inputs(x[:, t : t + 1])[:, 0])
        with torch.autocast("cpu", torch.bfloat16):
            half = layer.step(half, layer.inputs(x[:, t : t + 1].bfloat16())[:, 0], weights)
    for exact, rounded in zip(full, half, strict=True):
        assert rounded.dtype == torch.float32
        assert not torch.equal(rounded, exact)
        torch.testing.assert_close(rounded, exact, atol=0.02, rtol=0)


def test_starts_with_one_bias_set_and_an_open_forget_gate() -> None:
    layer = ConvLSTM(16, 64, 7, forget_bias=1.5)
    bias = layer.input_conv.bias
    assert bias is not None
    assert sum(p.numel() for p in layer.parameters()) == 4 * (16 * 64 * 49 + 64 * 64 * 49 + 64)
    assert bias[64:128].tolist() == [1.5] * 64
    assert bias[:64].abs().max() == 0
    assert bias[128:].abs().max() == 0
    # No input and no hidden map: the cell decays by sigmoid of the forget bias.
    with torch.no_grad():
        layer.input_conv.weight.zero_()
        layer.hidden_conv.weight.zero_()
    state = ConvLSTMState(torch.zeros(1, 64, 4, 4), torch.ones(1, 64, 4, 4))
    after = layer.step(state, layer.inputs(torch.rand(1, 1, 16, 4, 4))[:, 0])
    torch.testing.assert_close(after.cell, torch.full_like(after.cell, 0.8175744))


def test_weights_start_uniform_within_the_spread() -> None:
    layer = ConvLSTM(16, 32, 7, spread=0.08)
    for weight in (layer.input_conv.weight, layer.hidden_conv.weight):
        assert 0.0799 < weight.abs().max() <= 0.08
        assert abs(weight.std().item() - 0.08 / 3**0.5) < 5e-4
    assert layer.input_conv.bias is not None
    assert sorted(set(layer.input_conv.bias.tolist())) == [0.0, 1.0]


def test_zero_state_follows_the_input() -> None:
    state = ConvLSTM(2, 5, 3).zero_state(torch.rand(3, 4, 2, 6, 7, dtype=torch.float64))
    assert state.hidden.shape == state.cell.shape == (3, 5, 6, 7)
    assert state.hidden.dtype == torch.float64
    assert not state.hidden.any()


@pytest.mark.parametrize(
    ("field", "fields"),
    [("kernel", (2, 3, 4)), ("kernel", (2, 3, 0)), ("hidden", (2, 0, 3)), ("in_channels", (0, 3, 3))],
)
def test_refuses(field: str, fields: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=field):
        ConvLSTM(*fields)
