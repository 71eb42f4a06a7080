"""AE-ConvLSTM-flow, the paper's network: memory predicts optical flow, which moves the features of the last frame."""

from abc import ABC
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.bounds import require_at_least, require_one_of
from model.layers.conv_lstm import ConvLSTMState
from model.layers.over_time import over_time
from model.ops.flow import warp_by_flow
from model.video_autoencoder.autoencoder import Decoded
from model.video_autoencoder.flow_head import LAYOUTS, FlowHead
from model.video_autoencoder.layers import conv_tanh_pool, up_conv
from model.video_autoencoder.recurrent import Memory, Pass, Recurrent, RecurrentAutoencoder, State
from model.video_autoencoder.smoothness import inject_smoothness, smoothness


@dataclass(frozen=True)
class WithFlow(Recurrent, ABC):
    """Networks whose memory predicts flow: the paper's, and what holds it.

    The released code is filters=32, hidden=45, forget_bias=0, head="released", reach=7.75, untied=True (or not),
    data="real", error="gradients", huber_weight=0, supervision="last": 915,466 parameters, 703,651 tied.
    """

    head: str = "a"
    """Layout of the flow head: a to e, literal or released, see flow_head.py; a to e have 29,706 parameters."""
    reach: float = 0.0
    """Bound of the flow in feature pixels, by clamping; 0 = none."""
    untied: bool = False
    """The first step has weights of its own, without recurrence (released code)."""
    smoothness: str = "loss"
    """The Huber penalty as a term of the loss, or its gradient injected on the way back (section 3.2.2): the same
    gradients, but an injected one does not follow a scaled loss."""
    still_steps: int = 0
    """Optimiser steps during which the flow is held at zero (the paper's 0 = none). Of real video the network
    has to be able to copy a frame before motion shows in its error: see RESULTS.md."""
    huber_weight: float = 1e-2
    """Weight of the Huber penalty on the flow (w_H of eq. 4), on means."""
    huber_delta: float = 1e-3
    """Where the Huber penalty turns linear (delta of eq. 2), in feature pixels of flow per pixel, above 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(self, "head", LAYOUTS)
        require_one_of(self, "smoothness", ("loss", "injected"))
        require_at_least(self, 0, "reach", "still_steps", "huber_weight")
        if self.huber_delta <= 0:
            raise ValueError(f"huber_delta: got {self.huber_delta}, needs to be above 0")


@dataclass(frozen=True)
class AEConvLSTMFlow(WithFlow):
    """ConvLSTM as temporal encoder; optical flow and a sampler as temporal decoder."""

    @classmethod
    def small(cls) -> "AEConvLSTMFlow":
        """See ModelConfig."""
        return cls(channels=3, kernel=3, filters=4, hidden=6, head="released")

    def build(self) -> "FlowAutoencoder":
        """The model, randomly initialised from torch's default generator."""
        return FlowAutoencoder(self)


class FlowAutoencoder(RecurrentAutoencoder):
    """Figure 1 of the paper: E, LSTM, Theta with its Huber penalty, grid generator and sampler, D."""

    config: WithFlow
    multiple = 2

    def __init__(self, config: WithFlow) -> None:
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
        return {"output": over_time(self.decoder, warp_by_flow(features, flow)), "flow": flow}

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
        self, state: State | None, frames: Float[Tensor, "b t c h w"], step: int | None = None
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
