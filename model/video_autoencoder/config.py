"""What can be chosen of the four networks; the defaults are the paper's, down to the number of parameters (Table 1).

Layers: `conv` keeps the size, `pool` is a 2x2 maximum, `up` repeats pixels 2x. For frames of one channel, 64x64:

    AEConv          109,073   ten frames as channels: conv 16 tanh pool, conv 64 tanh, conv 16 tanh, up conv
    AEFcLSTM     33,623,649   conv 16 tanh pool, conv 32 tanh pool, linear, LSTM, LSTM, linear, up conv 16, up conv
    AEConvLSTM    1,256,305   conv 16 tanh pool, ConvLSTM 64, ConvLSTM 16, up conv
    AEConvLSTMFlow 1,035,067  conv 16 tanh pool, ConvLSTM 64, flow head, sampler, up conv

The counts prove what the text leaves out: ten input frames, 7x7 kernels, one bias set a gate, no peepholes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model.remat import Remat
from model.video_autoencoder.flow_head import LAYOUTS

if TYPE_CHECKING:
    from model.video_autoencoder.autoencoder import VideoAutoencoder

CHOICES = {
    "data": ("binary", "real"),
    "error": ("pixels", "gradients"),
    "supervision": ("each", "last"),
    "head": tuple(LAYOUTS),
    "smoothness": ("loss", "injected"),
}


@dataclass(frozen=True)
class Autoencoder(ABC):
    """What the four networks have in common.

    Args:
        channels: of the frames: 1 (grey) or 3.
        kernel: side of the convolutions, odd.
        filters: of the first encoder convolution.
        data: "binary" = cross-entropy of logits (section 5.1), "real" = squared error (eq. 4). Frames between
            0 and 1 may be treated as binary: they are then probabilities.
        error: "pixels", or the released code's "gradients": squared error of horizontal and vertical image
            gradients, for real data only. It leaves the brightness of a frame open.
        supervision: "each" predicts the frame after every one seen (eq. 4), "last" only the clip's last frame
            (released code).
        output_bias: where the bias of the decoder's last convolution starts; the paper's 0 says of binary data that
            half of all pixels are lit. The flow network then learns, within 50 updates, to sample outside the frame,
            where features are zero and so everything is dark, and has no gradient there to come back by. With the log
            odds of a lit pixel (-3 for two digits) it learns motion.
        remat: none, every:N, sqrt, bytes:N; AEConv has no recurrence, and ignores it.
    """

    channels: int = 1
    kernel: int = 7
    filters: int = 16
    data: str = "binary"
    error: str = "pixels"
    supervision: str = "each"
    output_bias: float = 0.0
    remat: str = "none"

    def __post_init__(self) -> None:
        for name in ("channels", "filters", "inputs", "hidden", "deep_filters", "size"):
            if getattr(self, name, 1) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, needs at least 1")
        for name in ("spread", "huber_weight", "reach", "still_steps"):
            if getattr(self, name, 0) < 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, needs at least 0")
        for name, allowed in CHOICES.items():
            if getattr(self, name, allowed[0]) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are {', '.join(allowed)}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel: got {self.kernel}, needs an odd number, so that maps keep their size")
        if self.error == "gradients" and self.data != "real":
            raise ValueError(f"error: got 'gradients' with data {self.data!r}, needs data 'real'")
        Remat.parse(self.remat)

    @abstractmethod
    def build(self) -> "VideoAutoencoder":
        """The model, randomly initialised from torch's default generator."""


@dataclass(frozen=True)
class AEConv(Autoencoder):
    """Frames as channels, no memory.

    Args:
        inputs: frames seen at a time, at least 1. With longer clips the window slides.
        hidden: filters of the middle layer.
    """

    inputs: int = 10
    hidden: int = 64

    def build(self) -> "VideoAutoencoder":
        """The model, randomly initialised from torch's default generator."""
        from model.video_autoencoder.convolutional import ConvAutoencoder

        return ConvAutoencoder(self)


@dataclass(frozen=True)
class Recurrent(Autoencoder, ABC):
    """Networks with a memory.

    Args:
        hidden: features of the (first) memory layer.
        forget_bias: where the forget gates' bias starts (released code: 0).
        spread: memory weights start uniform in [-spread, spread] (section 4).
    """

    hidden: int = 64
    forget_bias: float = 1.0
    spread: float = 0.08


@dataclass(frozen=True)
class AEFcLSTM(Recurrent):
    """Fully connected memory. The second convolution and the linear layers follow from the count, not from the text.

    Args:
        size: side of the frames in pixels, a multiple of 4.
        deep_filters: of the second encoder convolution.
    """

    hidden: int = 1024
    size: int = 64
    deep_filters: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 4:
            raise ValueError(f"size: got {self.size}, needs a multiple of 4: frames are pooled twice")

    def build(self) -> "VideoAutoencoder":
        """The model, randomly initialised from torch's default generator."""
        from model.video_autoencoder.recurrent import FcLSTMAutoencoder

        return FcLSTMAutoencoder(self)


@dataclass(frozen=True)
class AEConvLSTM(Recurrent):
    """ConvLSTMs as temporal encoder and decoder."""

    def build(self) -> "VideoAutoencoder":
        """The model, randomly initialised from torch's default generator."""
        from model.video_autoencoder.recurrent import ConvLSTMAutoencoder

        return ConvLSTMAutoencoder(self)


@dataclass(frozen=True)
class AEConvLSTMFlow(Recurrent):
    """ConvLSTM as temporal encoder; optical flow and a sampler as temporal decoder.

    The released code is filters=32, hidden=45, forget_bias=0, head="released", reach=7.75, untied=True (or not),
    data="real", error="gradients", huber_weight=0, supervision="last": 915,466 parameters, 703,651 tied.

    Args:
        head: layout of the flow head, see flow_head.py; all have 29,706 parameters but "literal" and "released".
        reach: bound of the flow in feature pixels, by clamping; 0 = none.
        untied: the first step has weights of its own, without recurrence (released code).
        smoothness: the Huber penalty as a term of the "loss", or its gradient "injected" on the way back
            (section 3.2.2): the same gradients, but an injected one does not follow a scaled loss.
        still_steps: optimiser steps during which the flow is held at zero (the paper's 0 = none). Of real video the
            network has to be able to copy a frame before motion shows in its error: see RESULTS.md.
        huber_weight: w_H of eq. 4, on means.
        huber_delta: delta of eq. 2, feature pixels of flow per pixel, above 0.
    """

    head: str = "a"
    reach: float = 0.0
    untied: bool = False
    smoothness: str = "loss"
    still_steps: int = 0
    huber_weight: float = 1e-2
    huber_delta: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.huber_delta <= 0:
            raise ValueError(f"huber_delta: got {self.huber_delta}, needs to be above 0")

    def build(self) -> "VideoAutoencoder":
        """The model, randomly initialised from torch's default generator."""
        from model.video_autoencoder.flow import FlowAutoencoder

        return FlowAutoencoder(self)
