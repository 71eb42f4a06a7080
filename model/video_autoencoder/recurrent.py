"""Networks that remember: frame encoder, memory, decoder; and two of them, AE-ConvLSTM and AE-fcLSTM."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, cast

from jaxtyping import Float
from torch import Tensor, nn

from model.bounds import Unfit, require_at_least
from model.layers.conv_lstm import ConvLSTM, ConvLSTMState, ConvLSTMWeights
from model.layers.over_time import over_time
from model.remat import Remat
from model.unroll import unroll
from model.video_autoencoder.autoencoder import Autoencoder, Decoded, VideoAutoencoder
from model.video_autoencoder.layers import conv_tanh_pool, up_conv, xavier

State = tuple[ConvLSTMState, ...]  # of each layer
Weights = tuple[ConvLSTMWeights | None, ...]  # of each layer


@dataclass(frozen=True)
class Recurrent(Autoencoder, ABC):
    """Networks with a memory."""

    hidden: int = 64
    """Features of the (first) memory layer."""
    forget_bias: float = 1.0
    """Where the forget gates' bias starts (released code: 0)."""
    spread: float = 0.08
    """Memory weights start uniform in [-spread, spread] (section 4)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "hidden")
        require_at_least(self, 0, "spread")


class Pass(NamedTuple):
    """What decoding has to know of the whole pass over a clip."""

    share: float  # 1 / number of predictions, for what has to be a mean over all of them
    step: int | None  # optimiser steps done; None = after training


class Memory(nn.Module):
    """ConvLSTM layers one upon the other (eq. 1). On maps of one pixel with kernel 1 they are plain LSTMs.

    Args:
        widths: channels of the input, then of each layer.
        kernel: of all convolutions.
        config: how the weights start.
    """

    def __init__(self, widths: Sequence[int], kernel: int, config: Recurrent) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            ConvLSTM(before, after, kernel, config.forget_bias, config.spread)
            for before, after in pairwise(widths)
        )

    def _stack(self) -> list[ConvLSTM]:
        return [cast(ConvLSTM, layer) for layer in self.layers]

    def zero_state(self, like: Float[Tensor, "b t c h w"]) -> State:
        """The state before the first frame; `like` has the size of the maps, and the precision of the state."""
        return tuple(layer.zero_state(like) for layer in self._stack())

    def inputs(self, features: Float[Tensor, "b t d h w"]) -> Float[Tensor, "b t g h w"]:
        """What the first layer takes from its input, which needs no state."""
        return self._stack()[0].inputs(features)

    def weights(self, state: State) -> Weights:
        """Of each layer, for `step`, outside the scan."""
        return tuple(layer.weights(mine) for layer, mine in zip(self._stack(), state, strict=True))

    def step(
        self, state: State, projected: Float[Tensor, "b g h w"], weights: Weights | None = None
    ) -> State:
        """The next state from `inputs` of one frame; the last layer's hidden map is the output."""
        layers = self._stack()
        after: list[ConvLSTMState] = []
        for layer, before, mine in zip(layers, state, weights or [None] * len(layers), strict=True):
            if after:
                projected = layer.inputs(after[-1].hidden[:, None])[:, 0]
            after.append(layer.step(before, projected, mine))
        return tuple(after)


class RecurrentAutoencoder(VideoAutoencoder[State]):
    """Encoder and decoder are batched over time, around the one scan of the memory."""

    config: Recurrent
    encoder: nn.Module
    memory: Memory

    @abstractmethod
    def decode(
        self, memory: Float[Tensor, "b t d h2 w2"], features: Float[Tensor, "b t e h2 w2"], part_of: Pass
    ) -> Decoded:
        """Predictions from the memory's output and the encoded frame of each step of a pass."""

    def advance(
        self, state: State | None, frames: Float[Tensor, "b t c h w"], step: int | None = None
    ) -> tuple[State, Decoded]:
        """As VideoAutoencoder's."""
        return self.scan(state or self.start(frames), frames, self.over(frames, step))

    def over(self, frames: Float[Tensor, "b t c h w"], step: int | None) -> Pass:
        """The pass over `frames`."""
        return Pass(1 / frames.shape[1] if self.config.supervision == "each" else 1.0, step)

    def scan(self, state: State, frames: Float[Tensor, "b t c h w"], part_of: Pass) -> tuple[State, Decoded]:
        """`advance` from a state that is there, as (a part of) a pass."""
        each = self.config.supervision == "each"
        weights = self.memory.weights(state)

        def prepare(frames: Tensor) -> tuple[Tensor, Tensor]:
            features = over_time(self.encoder, frames)
            return self.memory.inputs(features), features

        def cell(state: State, x: tuple[Tensor, Tensor]) -> tuple[State, tuple[Tensor, ...]]:
            projected, features = x
            state = self.memory.step(state, projected, weights)
            return state, (state[-1].hidden, features) if each else ()

        def finish(outputs: tuple[Tensor, ...]) -> Decoded:
            if not each:
                return {}
            hidden, features = outputs
            return self.decode(hidden, features, part_of)

        state, decoded = unroll(
            cell,
            state,
            frames,
            remat=Remat.parse(self.config.remat),
            prepare=prepare,
            finish=finish,
        )
        if not each:  # the last frame is encoded once more, so that no step has to hold its features
            decoded = self.decode(state[-1].hidden[:, None], over_time(self.encoder, frames[:, -1:]), part_of)
        return state, decoded

    def start(self, frames: Float[Tensor, "b t c h w"]) -> State:
        """The state before the first frame, in the precision of the frames."""
        batch, _, _, height, width = frames.shape
        return self.memory.zero_state(
            frames.new_zeros(batch, 1, 1, height // self.multiple, width // self.multiple)
        )


@dataclass(frozen=True)
class AEConvLSTM(Recurrent):
    """ConvLSTMs as temporal encoder and decoder."""

    @classmethod
    def small(cls) -> "AEConvLSTM":
        """See ModelConfig."""
        return cls(channels=3, kernel=3, filters=4, hidden=6)

    def build(self) -> "ConvLSTMAutoencoder":
        """The model, randomly initialised from torch's default generator."""
        return ConvLSTMAutoencoder(self)


class ConvLSTMAutoencoder(RecurrentAutoencoder):
    """AE-ConvLSTM: one ConvLSTM layer as temporal encoder, one as temporal decoder."""

    multiple = 2

    def __init__(self, config: AEConvLSTM) -> None:
        super().__init__(config)
        filters, kernel = config.filters, config.kernel
        self.encoder = nn.Sequential(*conv_tanh_pool(config.channels, filters, kernel))
        self.memory = Memory((filters, config.hidden, filters), kernel, config)
        self.decoder = nn.Sequential(*up_conv(filters, config.channels, kernel, config.output_bias))

    def decode(
        self, memory: Float[Tensor, "b t d h2 w2"], features: Float[Tensor, "b t e h2 w2"], part_of: Pass
    ) -> Decoded:
        """Frames from memory alone."""
        return {"output": over_time(self.decoder, memory)}


@dataclass(frozen=True)
class AEFcLSTM(Recurrent):
    """Fully connected memory. The second convolution and the linear layers follow from the count, not from the text."""

    hidden: int = 1024
    size: int = 64
    """Side of the frames in pixels, a multiple of 4."""
    deep_filters: int = 32
    """Of the second encoder convolution."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "size", "deep_filters")
        if self.size % 4:
            raise ValueError(f"size: got {self.size}, needs a multiple of 4: frames are pooled twice")

    @classmethod
    def small(cls) -> "AEFcLSTM":
        """See ModelConfig."""
        return cls(channels=3, kernel=3, filters=4, size=16, deep_filters=4, hidden=8)

    def build(self) -> "FcLSTMAutoencoder":
        """The model, randomly initialised from torch's default generator."""
        return FcLSTMAutoencoder(self)


class FcLSTMAutoencoder(RecurrentAutoencoder):
    """AE-fcLSTM: frames become vectors, and two plain LSTM layers the memory."""

    config: AEFcLSTM
    multiple = 4

    def __init__(self, config: AEFcLSTM) -> None:
        super().__init__(config)
        filters, deep, kernel, side = config.filters, config.deep_filters, config.kernel, config.size // 4
        pixels = deep * side**2
        self.encoder = nn.Sequential(
            *conv_tanh_pool(config.channels, filters, kernel),
            *conv_tanh_pool(filters, deep, kernel),
            nn.Flatten(),
            xavier(nn.Linear(pixels, config.hidden)),
            nn.Unflatten(1, (config.hidden, 1, 1)),
        )
        self.memory = Memory((config.hidden,) * 3, 1, config)
        self.decoder = nn.Sequential(
            nn.Flatten(),
            xavier(nn.Linear(config.hidden, pixels)),
            nn.Unflatten(1, (deep, side, side)),
            *up_conv(deep, filters, kernel),
            *up_conv(filters, config.channels, kernel, config.output_bias),
        )

    def start(self, frames: Float[Tensor, "b t c h w"]) -> State:
        """The state before the first frame: vectors, as maps of one pixel.

        Raises:
            Unfit: frames of another size than configured.
        """
        side = self.config.size
        if frames.shape[-2:] != (side, side):
            got = " x ".join(map(str, frames.shape[-2:]))
            raise Unfit(f"frames are {got} pixels, the model takes {side} x {side}: set its size")
        return self.memory.zero_state(frames.new_zeros(frames.shape[0], 1, 1, 1, 1))

    def decode(
        self, memory: Float[Tensor, "b t d 1 1"], features: Float[Tensor, "b t d 1 1"], part_of: Pass
    ) -> Decoded:
        """Frames from memory alone."""
        return {"output": over_time(self.decoder, memory)}
