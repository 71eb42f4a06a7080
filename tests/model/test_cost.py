"""Measured cost and measured peak: a byte budget is kept, and made use of."""

import pytest
import torch
from torch import Tensor, nn

from model.cost import measure
from model.layers.conv_lstm import ConvLSTM, ConvLSTMState
from model.remat import Remat, peak_bytes
from model.unroll import unroll
from trainer.bench.live_bytes import LiveBytes


class Network(nn.Module):
    """ConvLSTM, encoder before and decoder behind, wide or narrow."""

    def __init__(self, encoder: int, decoder: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, encoder, 3, padding=1), nn.ELU(), nn.Conv2d(encoder, 4, 1))
        self.recurrent = ConvLSTM(4, 8, 3)
        self.decoder = nn.Sequential(nn.Conv2d(8, decoder, 3, padding=1), nn.ELU(), nn.Conv2d(decoder, 3, 1))
        for p in self.parameters():
            p.grad = torch.zeros_like(p)

    def prepare(self, x: Tensor) -> Tensor:
        return self.recurrent.inputs(self.encoder(x.flatten(0, 1)).unflatten(0, x.shape[:2]))

    def cell(self, state: ConvLSTMState, x: Tensor) -> tuple[ConvLSTMState, Tensor]:
        state = self.recurrent.step(state, x)
        return state, state.hidden

    def finish(self, hidden: Tensor) -> Tensor:
        return self.decoder(hidden.flatten(0, 1)).square().mean((1, 2, 3)).unflatten(0, hidden.shape[:2])

    def peak(self, remat: Remat, frames: Tensor) -> int:
        state = self.recurrent.zero_state(frames.new_zeros(*frames.shape[:2], 4, *frames.shape[3:]))
        live = LiveBytes()
        with live:
            live.exclude(
                frames, *state, *self.parameters(), *(p.grad for p in self.parameters() if p.grad is not None)
            )
            last, losses = unroll(
                self.cell, state, frames, remat=remat, prepare=self.prepare, finish=self.finish
            )
            losses.mean().backward()
        del last, losses
        assert live.now < 1000, "something outlives the backward pass"
        return live.peak


@pytest.mark.parametrize(("encoder", "decoder"), [(1, 1), (16, 1), (1, 16), (64, 64)])
@pytest.mark.parametrize("share", [0.15, 0.3, 0.6])
def test_measured_peak_stays_within_the_budget(encoder: int, decoder: int, share: float) -> None:
    network, frames = Network(encoder, decoder), torch.rand(2, 40, 3, 12, 12)
    none = network.peak(Remat(), frames)
    budget = int(none * share)
    peak = network.peak(Remat("bytes", budget), frames)
    assert peak <= 1.05 * budget
    assert peak >= 0.5 * budget  # it is made use of


def test_memory_of_a_long_scan_is_a_small_share() -> None:
    network, frames = Network(1, 1), torch.rand(1, 128, 3, 12, 12)
    none = network.peak(Remat(), frames)
    assert network.peak(Remat("sqrt"), frames) <= 0.15 * none
    assert network.peak(Remat("bytes", none // 20), frames) <= 0.05 * none


def test_the_reckoned_cost_is_the_measured_one() -> None:
    """Counted by hand; inputs and parameters are free."""
    layer = nn.Linear(8, 8)
    cost = measure(
        lambda s, x: (torch.tanh(layer(s * torch.exp(x))),) * 2,
        lambda x: x,
        lambda y: (),
        torch.zeros(4, 8),
        torch.rand(4, 3, 8),
    )
    unit = 4 * 8 * 4
    # Per step: exp(x), s exp(x), tanh, and the stacked output, once more for the widest that `finish` may make of it.
    assert cost.state == unit
    assert cost.step == 5 * unit
    assert peak_bytes((2, 3), cost) == 3 * cost.step + cost.work


def test_measuring_draws_nothing_and_leaves_nothing() -> None:
    layer, x, state = nn.Linear(8, 8), torch.rand(4, 3, 8), torch.zeros(4, 8)
    before = torch.get_rng_state()
    live = LiveBytes()
    with live:
        measure(
            lambda s, x: ((n := torch.tanh(layer(s + torch.randn_like(x)))), n),
            torch.exp,
            torch.tanh,
            state,
            x,
        )
    assert torch.equal(torch.get_rng_state(), before)
    assert live.now == 0
    assert layer.weight.grad is None
    assert not state.requires_grad
    assert not x.requires_grad
