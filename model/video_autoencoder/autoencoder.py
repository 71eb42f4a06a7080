"""What the four networks share: the loss, the views, the roll-out."""

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from model.interface import ModelOutput, Video, VideoModel, Views
from model.ops.flow import enlarge
from model.video_autoencoder.config import Autoencoder

Decoded = dict[str, Tensor]  # "output" and, where a network has it, "flow": see VideoAutoencoder.advance


class VideoAutoencoder(VideoModel):
    """Predicts the next frame from those before it."""

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
        self, state: Any, frames: Float[Tensor, "b t c h w"], step: int | None = None
    ) -> tuple[Any, Decoded]:
        """See `frames` and predict.

        Args:
            state: what an earlier call gave; None at the start of a clip.
            frames: in [0, 1], at least one.
            step: as `forward`'s; None = after training.

        Returns:
            The state, and with p predictions, of frames 2 - p to 1 after the last one seen:
            "output" (b p c h w), logits for binary data, else frames; and "flow" (b p 2 h2 w2), T of eq. 3: where in
            the frame before each feature comes from, (x, y) in pixels of the feature map.
        """

    def forward(self, video: Video, step: int) -> ModelOutput:
        """Eq. 4 as a mean over pixels, predictions and clips; predictions are of the clip's last frames.

        Raises:
            ValueError: frames are not as configured, or too few.
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
        views = Views(prediction=self._shown(output), flow=self._motion(decoded))
        terms = {name: error, **terms}
        return ModelOutput(
            error + added, {key: value.detach() for key, value in terms.items()}, views.map(Tensor.detach)
        )

    def penalty(self, decoded: Decoded) -> tuple[Tensor, dict[str, Tensor]]:
        """What the loss has besides the error, and its named parts."""
        return decoded["output"].new_zeros((), dtype=torch.float32), {}

    @torch.no_grad()
    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """Feeds each prediction back as if it had been seen; of binary data, the probabilities. Beyond the paper.

        Raises:
            ValueError: frames are not as configured or too few, or horizon is below 1.
        """
        if horizon < 1:
            raise ValueError(f"horizon: got {horizon}, needs at least 1")
        state, decoded = self.advance(None, self.checked(video.frames, least=1))
        future = [self._shown(decoded["output"][:, -1:].float())]
        while len(future) < horizon:
            state, decoded = self.advance(state, future[-1])
            future.append(self._shown(decoded["output"].float()))
        return torch.cat(future, 1)

    def _shown(self, output: Float[Tensor, "b p c h w"]) -> Float[Tensor, "b p c h w"]:
        """Frames in [0, 1]: the probability that a pixel is lit, or its value cut to what a frame can show."""
        return output.sigmoid() if self.config.data == "binary" else output.clamp(0, 1)

    def _motion(self, decoded: Decoded) -> Float[Tensor, "b p 2 h w"] | None:
        """Views.flow: sampling looks back, so motion is minus T; nearest, as the decoder enlarges features."""
        return -enlarge(decoded["flow"], self.multiple) if "flow" in decoded else None

    def checked(self, frames: Float[Tensor, "b t c h w"], least: int) -> Float[Tensor, "b t c h w"]:
        """The frames, float32; ValueError where they are not as configured, or fewer than `least`."""
        height, width = frames.shape[-2:]
        if frames.shape[1] < least:
            raise ValueError(f"clips have {frames.shape[1]} frames, the model needs {least} or more")
        if frames.shape[2] != self.config.channels:
            raise ValueError(
                f"frames have {frames.shape[2]} channels, the model takes {self.config.channels}: set its channels"
            )
        if height % self.multiple or width % self.multiple:
            raise ValueError(
                f"frames are {height} x {width} pixels, the model needs multiples of {self.multiple}"
            )
        return frames.float()


def reconstruction_error(
    output: Float[Tensor, "*b c h w"], target: Float[Tensor, "*b c h w"], config: Autoencoder
) -> tuple[str, Float[Tensor, ""]]:
    """The data term as configured, a mean over pixels and channels, and its name; cross-entropy in nats."""
    if config.data == "binary":
        return "cross_entropy", F.binary_cross_entropy_with_logits(output, target)
    if config.error == "gradients":
        pairs = zip(_image_gradients(output), _image_gradients(target), strict=True)
        return "gradient_error", torch.stack([F.mse_loss(ours, theirs) for ours, theirs in pairs]).mean()
    return "squared_error", F.mse_loss(output, target)


def _image_gradients(frames: Float[Tensor, "*b c h w"]) -> tuple[Tensor, Tensor]:
    """Frames filtered by [-1, 0, 1] along x and along y, where the filter fits."""
    return frames[..., 2:] - frames[..., :-2], frames[..., 2:, :] - frames[..., :-2, :]
