"""What the four networks share: settings, the loss, the views, the roll-out.

Their defaults are the paper's, down to the number of parameters (Table 1). Layers: `conv` keeps the size, `pool` is a
2x2 maximum, `up` repeats pixels 2x. For frames of one channel, 64x64:

    AEConv          109,073   ten frames as channels: conv 16 tanh pool, conv 64 tanh, conv 16 tanh, up conv
    AEFcLSTM     33,623,649   conv 16 tanh pool, conv 32 tanh pool, linear, LSTM, LSTM, linear, up conv 16, up conv
    AEConvLSTM    1,256,305   conv 16 tanh pool, ConvLSTM 64, ConvLSTM 16, up conv
    AEConvLSTMFlow 1,035,067  conv 16 tanh pool, ConvLSTM 64, flow head, sampler, up conv

The counts prove what the text leaves out: ten input frames, 7x7 kernels, one bias set a gate, no peepholes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from model.bounds import Unfit, require_at_least, require_odd, require_one_of
from model.interface import ModelConfig, ModelOutput, Video, VideoModel, Views
from model.ops.flow import enlarge

Seen = TypeVar("Seen")
Decoded = dict[str, Tensor]  # "output" and, where a network has it, "flow": see VideoAutoencoder.advance


@dataclass(frozen=True)
class Autoencoder(ModelConfig, ABC):
    """What the four networks have in common."""

    channels: int = 1
    """Channels of the frames: 1 (grey) or 3."""
    kernel: int = 7
    """Side of the convolutions, odd."""
    filters: int = 16
    """Channels of the first encoder convolution."""
    data: str = "binary"
    """What frames are: binary = cross-entropy of logits (section 5.1), real = squared error (eq. 4). Frames between 0
    and 1 may be treated as binary: they are then probabilities."""
    error: str = "pixels"
    """Between what: pixels, or the released code's gradients: squared error of horizontal and vertical image
    gradients, for real data only. It leaves the brightness of a frame open."""
    supervision: str = "each"
    """Which frames are predicted: each after the first (eq. 4), or only the last of the clip (released code)."""
    output_bias: float = 0.0
    """Where the bias of the decoder's last convolution starts; the paper's 0 says of binary data that half of
    all pixels are lit. The flow network then learns, within 50 updates, to sample outside the frame, where
    features are zero and so everything is dark, and has no gradient there to come back by. With the log odds
    of a lit pixel (-3 for two digits) it learns motion."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "channels", "filters")
        require_one_of(self, "data", ("binary", "real"))
        require_one_of(self, "error", ("pixels", "gradients"))
        require_one_of(self, "supervision", ("each", "last"))
        require_odd(self, "kernel")
        if self.error == "gradients" and self.data != "real":
            raise ValueError(f"error: got 'gradients' with data {self.data!r}, needs data 'real'")

    @property
    def binary(self) -> bool:
        """Whether frames are probabilities of lit pixels."""
        return self.data == "binary"


class VideoAutoencoder(VideoModel, Generic[Seen]):
    """Predicts the next frame from those before it; `Seen` is what it remembers of them."""

    multiple: int  # height and width of frames must be multiples of it

    def __init__(self, config: Autoencoder) -> None:
        super().__init__()
        self.config = config

    @property
    def shortest(self) -> int:
        """The fewest frames of a clip to train on."""
        return 2

    @abstractmethod
    def advance(
        self, state: Seen | None, frames: Float[Tensor, "b t c h w"], step: int | None = None
    ) -> tuple[Seen, Decoded]:
        """See `frames` and predict.

        Args:
            state: what an earlier call gave; None at the start of a clip.
            frames: in [0, 1], at least one.
            step: as `forward`'s; None = after training.

        Returns:
            The state, and with q predictions, of frames 2 - q to 1 after the last one seen:
            "output" (b q c h w), logits for binary data, else frames; and "flow" (b q 2 h2 w2), T of eq. 3: where in
            the frame before each feature comes from, (x, y) in pixels of the feature map.
        """

    def forward(self, video: Video, step: int) -> ModelOutput:
        """Eq. 4 as a mean over pixels, predictions and clips; predictions are of the clip's last frames.

        Raises:
            Unfit: frames are not as configured, or too few.
        """
        frames = self.checked(video.frames, self.shortest)
        _, decoded = self.advance(None, frames[:, :-1], step)
        return self.judged(frames, decoded)

    def judged(self, frames: Float[Tensor, "b t c h w"], decoded: Decoded) -> ModelOutput:
        """`forward`'s output, from what `advance` gave of all frames but the last."""
        output = decoded["output"].float()
        target = frames[:, frames.shape[1] - output.shape[1] :]
        name, error = reconstruction_error(output, target, self.config)
        added, terms = self.penalty(decoded)
        terms = {name: error.detach(), **{key: value.detach() for key, value in terms.items()}}
        known = {key: value.detach() for key, value in decoded.items()}
        return ModelOutput(error + added, terms, lambda: self._views(known))

    def penalty(self, decoded: Decoded) -> tuple[Tensor, dict[str, Tensor]]:
        """What the loss has besides the error, and its named parts."""
        return decoded["output"].new_zeros((), dtype=torch.float32), {}

    @torch.no_grad()
    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """Feeds each prediction back as if it had been seen; of binary data, the probabilities. Beyond the paper.

        Raises:
            Unfit: frames are not as configured or too few.
            ValueError: horizon is below 1.
        """
        if horizon < 1:
            raise ValueError(f"horizon: got {horizon}, needs at least 1")
        state, decoded = self.advance(None, self.checked(video.frames, least=1))
        future = [self._shown(decoded["output"][:, -1:].float())]
        while len(future) < horizon:
            state, decoded = self.advance(state, future[-1])
            future.append(self._shown(decoded["output"].float()))
        return torch.cat(future, 1)

    def _views(self, decoded: Decoded) -> Views:
        return Views(prediction=self._shown(decoded["output"].float()), flow=self._motion(decoded))

    def _shown(self, output: Float[Tensor, "b q c h w"]) -> Float[Tensor, "b q c h w"]:
        """Frames in [0, 1]: the probability that a pixel is lit, or its value cut to what a frame can show."""
        return output.sigmoid() if self.config.binary else output.clamp(0, 1)

    def _motion(self, decoded: Decoded) -> Float[Tensor, "b q 2 h w"] | None:
        """Views.flow: sampling looks back, so motion is minus T; nearest, as the decoder enlarges features."""
        return -enlarge(decoded["flow"], self.multiple) if "flow" in decoded else None

    def checked(self, frames: Float[Tensor, "b t c h w"], least: int) -> Float[Tensor, "b t c h w"]:
        """The frames, float32; Unfit where they are not as configured, or fewer than `least`."""
        height, width = frames.shape[-2:]
        if frames.shape[1] < least:
            raise Unfit(f"clips have {frames.shape[1]} frames, the model needs {least} or more")
        if frames.shape[2] != self.config.channels:
            raise Unfit(
                f"frames have {frames.shape[2]} channels, the model takes {self.config.channels}: set its channels"
            )
        if height % self.multiple or width % self.multiple:
            raise Unfit(f"frames are {height} x {width} pixels, the model needs multiples of {self.multiple}")
        return frames.float()


def reconstruction_error(
    output: Float[Tensor, "*b c h w"], target: Float[Tensor, "*b c h w"], config: Autoencoder
) -> tuple[str, Float[Tensor, ""]]:
    """The data term as configured, a mean over pixels and channels, and its name; cross-entropy in nats."""
    if config.binary:
        return "cross_entropy", F.binary_cross_entropy_with_logits(output, target)
    if config.error == "gradients":
        pairs = zip(_image_gradients(output), _image_gradients(target), strict=True)
        return "gradient_error", torch.stack([F.mse_loss(ours, theirs) for ours, theirs in pairs]).mean()
    return "squared_error", F.mse_loss(output, target)


def _image_gradients(frames: Float[Tensor, "*b c h w"]) -> tuple[Tensor, Tensor]:
    """Frames filtered by [-1, 0, 1] along x and along y, where the filter fits."""
    return frames[..., 2:] - frames[..., :-2], frames[..., 2:, :] - frames[..., :-2, :]
