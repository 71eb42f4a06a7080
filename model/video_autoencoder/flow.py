"""AE-ConvLSTM-flow, the paper's network: memory predicts optical flow, which moves the features of the last frame."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.layers.conv_lstm import ConvLSTMState
from model.ops.flow import warp
from model.video_autoencoder.autoencoder import Decoded
from model.video_autoencoder.config import AEConvLSTMFlow
from model.video_autoencoder.flow_head import FlowHead
from model.video_autoencoder.layers import conv_tanh_pool, over_time, up_conv
from model.video_autoencoder.recurrent import Memory, Pass, RecurrentAutoencoder, State
from model.video_autoencoder.smoothness import inject_smoothness, smoothness


class FlowAutoencoder(RecurrentAutoencoder):
    """Figure 1 of the paper: E, LSTM, Theta with its Huber penalty, grid generator and sampler, D."""

    config: AEConvLSTMFlow
    multiple = 2

    def __init__(self, config: AEConvLSTMFlow) -> None:
        super().__init__(config)
        filters, hidden, kernel = config.filters, config.hidden, config.kernel
        self.encoder = nn.Sequential(*conv_tanh_pool(config.channels, filters, kernel))
        self.memory = Memory((filters, hidden), kernel, config)
        self.first = FirstStep(filters, hidden, kernel, config.spread) if config.untied else None
        self.head = FlowHead(hidden, config.head, config.reach)
        self.decoder = nn.Sequential(*up_conv(filters, config.channels, kernel, config.output_bias))

    def decode(
        self, memory: Float[Tensor, "b t d h2 w2"], features: Float[Tensor, "b t e h2 w2"], part_of: Pass
    ) -> Decoded:
        """The features of the last frame, moved by the flow, then decoded: nothing else can change a frame."""
        flow = over_time(self.head, memory)
        if part_of.step is not None and part_of.step < self.config.still_steps:
            flow = flow * 0  # and not without the head: engines expect a gradient of every weight
        if self.config.smoothness == "injected":
            # `smoothness` is a mean over the steps it is given; all passes together are to be a mean.
            weight = self.config.huber_weight * part_of.share * flow.shape[1]
            flow = inject_smoothness(flow, self.config.huber_delta, weight)
        return {"output": over_time(self.decoder, warp(features, flow)), "flow": flow}

    def penalty(self, decoded: Decoded) -> tuple[Tensor, dict[str, Tensor]]:
        """The Huber term of eq. 4, unless its gradient was injected; and how large the flow is, in pixels."""
        flow = decoded["flow"]
        huber = smoothness(flow, self.config.huber_delta)
        length = self.multiple * flow.detach().square().sum(2).sqrt().mean()
        added = (
            self.config.huber_weight * huber if self.config.smoothness == "loss" else torch.zeros_like(huber)
        )
        return added, {"smoothness": huber, "flow_length": length}

    def advance(
        self, state: Any, frames: Float[Tensor, "b t c h w"], step: int | None = None
    ) -> tuple[State, Decoded]:
        """As VideoAutoencoder's; untied, the first frame of a clip goes through weights of its own."""
        if self.first is None or state is not None:
            return super().advance(state, frames, step)
        features, rest = over_time(self.encoder, frames[:, :1]), frames[:, 1:]
        state, whole = (self.first(features[:, 0]),), self.over(frames, step)
        if self.config.supervision == "last" and rest.shape[1]:
            return self.scan(state, rest, whole)
        decoded = self.decode(state[0].hidden[:, None], features, whole)
        if rest.shape[1]:
            state, later = self.scan(state, rest, whole)
            decoded = {name: torch.cat([decoded[name], later[name]], 1) for name in decoded}
        return state, decoded


class FirstStep(nn.Module):
    """The released code's "untied" start: input gate, candidate and output gate of their own, with nothing to forget.

    c = sigmoid(i) tanh(g), h = sigmoid(o) tanh(c), each a convolution of the first frame's features.
    """

    def __init__(self, in_channels: int, hidden: int, kernel: int, spread: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 3 * hidden, kernel, padding=kernel // 2)
        nn.init.uniform_(self.conv.weight, -spread, spread)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, features: Float[Tensor, "b d h w"]) -> ConvLSTMState:
        """The state after the first frame, float32."""
        i, o, g = self.conv(features).float().chunk(3, 1)
        cell = i.sigmoid() * g.tanh()
        return ConvLSTMState(o.sigmoid() * cell.tanh(), cell)
