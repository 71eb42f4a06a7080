"""SegNet basic as a model of video: each frame alone."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from model.bounds import Unfit, require_at_least, require_odd
from model.interface import ModelOutput, Video, VideoModel, Views
from model.segnet.network import SegNetBasic
from model.segnet.supervision import Supervised, label_loss


@dataclass(frozen=True)
class SegNet(Supervised):
    """SegNet basic on every frame alone; the defaults are CamVid's and the papers'.

    It has 1,416,587 parameters with 11 classes, 1,416,652 with 12, batch normalisation's factors included.
    """

    predicts: ClassVar[bool] = False

    channels: int = 3
    """Channels of the frames: 1 (grey) or 3."""
    width: int = 64
    """Channels of all maps."""
    kernel: int = 7
    """Side of the convolutions, odd."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "channels", "width")
        require_odd(self, "kernel")

    @classmethod
    def small(cls) -> "SegNet":
        """See ModelConfig."""
        return cls(classes=3, class_weights=(1.0, 2.0, 0.5), width=4, kernel=3)

    def build(self) -> "FrameSegmenter":
        """The model, randomly initialised from torch's default generator."""
        return FrameSegmenter(self)


class FrameSegmenter(VideoModel):
    """Says the class of every pixel of every frame, from that frame alone."""

    def __init__(self, config: SegNet) -> None:
        super().__init__()
        self.config = config
        self.segnet = SegNetBasic(config.channels, config.classes, config.width, config.kernel)

    def forward(self, video: Video, step: int) -> ModelOutput:
        """Cross-entropy of the labelled pixels.

        In training mode it updates the running statistics of batch normalisation, and nothing else.

        Raises:
            Unfit: frames are not as configured or too small, or a label is not a class.
        """
        logits = label_frames(self.segnet, video.frames, self.config.channels)
        loss = label_loss(logits, video.labels, self.config.class_weights)
        known = logits.detach()
        return ModelOutput(
            loss, {"label_cross_entropy": loss.detach()}, lambda: Views(labels=known.softmax(2))
        )

    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """There is no such thing.

        Raises:
            ValueError: always.
        """
        raise ValueError("segnet predicts no frames, it labels those it is given; segnet-flow does both")


def label_frames(
    segnet: SegNetBasic, frames: Float[Tensor, "b t c h w"], channels: int
) -> Float[Tensor, "b t classes h w"]:
    """SegNet's logits of all frames, in one call."""
    batch, steps, given, height, width = frames.shape
    if given != channels:
        raise Unfit(f"frames have {given} channels, the model takes {channels}: set its channels")
    if min(height, width) < 16:
        raise Unfit(
            f"frames are {height} x {width} pixels, the model needs 16 x 16 or more: it pools 4 times"
        )
    logits: Tensor = segnet(frames.flatten(0, 1))
    return logits.reshape(batch, steps, *logits.shape[1:])
