"""SegNet-flow (arXiv 1511.06309, section 5.2): labels of the frame before, moved by the flow, merged with SegNet's.

    L_t = M(L^b_t, L^w_t),   L^w_t = S(L_{t-1}; T_t)

L^b is what SegNet says of frame t alone, T_t the flow that the autoencoder predicted for frame t, without having seen
it: on the grid of frame t, it says where in frame t - 1 each pixel comes from. So labels reach frames without any.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.bounds import require_at_least
from model.interface import ModelOutput, Video, VideoModel
from model.ops.flow import enlarge, warp_by_flow
from model.remat import Remat
from model.segnet.frames import label_frames
from model.segnet.network import SegNetBasic
from model.segnet.supervision import Supervised, label_loss
from model.unroll import unroll
from model.video_autoencoder.flow import FlowAutoencoder, WithFlow

Probabilities = Tensor


@dataclass(frozen=True)
class SegNetFlow(Supervised, WithFlow):
    """A flow autoencoder for colour, SegNet basic on each frame, and a merge of its labels with those carried along.

    With 11 classes it has 2,456,981 parameters: SegNet, the autoencoder (1,038,205), merge (18 C^2 + C = 2,189).
    A `remat` budget of bytes is for each of two scans, the frames' and the labels'.
    """

    channels: int = 3
    data: str = "real"
    width: int = 64
    """Channels of SegNet's maps; its kernels are as large as the autoencoder's."""
    label_weight: float = 1.0
    """Of the cross-entropy, beside the reconstruction's 1 (the paper adds them)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "width")
        require_at_least(self, 0, "label_weight")
        if self.supervision != "each":
            raise ValueError(
                f"supervision: got {self.supervision!r}, needs 'each': labels are carried by the flow to every frame"
            )

    @classmethod
    def small(cls) -> "SegNetFlow":
        """See ModelConfig."""
        return cls(kernel=3, filters=4, hidden=6, classes=3, class_weights=(1.0, 2.0, 0.5), width=4)

    def build(self) -> "FlowSegmenter":
        """The model, randomly initialised from torch's default generator."""
        return FlowSegmenter(self)


class Merge(nn.Module):
    """M: logits of frame t from SegNet's, and from the labels that were carried to it.

    The paper only says that it is convolutional. Here logits' = logits + conv3x3(softmax(logits), carried), with
    18 C^2 + C parameters for C classes, that start at zero: at first SegNet alone decides. Carried probabilities are
    zero where the flow leads out of the frame, so that nothing is known there.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * classes, classes, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(
        self, logits: Float[Tensor, "b classes h w"], carried: Float[Tensor, "b classes h w"]
    ) -> Float[Tensor, "b classes h w"]:
        """Logits, float32."""
        both = torch.cat([logits.softmax(1), carried], 1)
        change: Tensor = self.conv(both)
        return logits + change.float()


class FlowSegmenter(VideoModel):
    """Figure 7 of the paper: autoencoder, SegNet and the recurrent path of labels, trained together."""

    def __init__(self, config: SegNetFlow) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = FlowAutoencoder(config)
        self.segnet = SegNetBasic(config.channels, config.classes, config.width, config.kernel)
        self.merge = Merge(config.classes)

    def forward(self, video: Video, step: int) -> ModelOutput:
        """The autoencoder's loss on all frames, plus the cross-entropy of the labelled pixels.

        In training mode it updates the running statistics of batch normalisation, and nothing else.

        Raises:
            Unfit: frames are not as configured, too few or too small, or a label is not a class.
        """
        frames = self.autoencoder.checked(video.frames, self.autoencoder.shortest)
        # Outside of the scan, at the price of its activations for all frames: see SegNetBasic.
        alone = label_frames(self.segnet, frames, self.config.channels)
        _, decoded = self.autoencoder.advance(None, frames[:, :-1], step)
        predicted = self.autoencoder.judged(frames, decoded)
        merged, carried = self.carry(alone, decoded["flow"])
        entropy = label_loss(merged, video.labels, self.config.class_weights)
        shown, logits, moved = predicted.show, merged.detach(), carried.detach()
        return ModelOutput(
            predicted.loss + self.config.label_weight * entropy,
            {**predicted.terms, "label_cross_entropy": entropy.detach()},
            lambda: replace(shown(), labels=logits.softmax(2), carried_labels=moved),
        )

    def carry(
        self, alone: Float[Tensor, "b t classes h w"], flow: Float[Tensor, "b t-1 2 h2 w2"]
    ) -> tuple[Float[Tensor, "b t classes h w"], Float[Tensor, "b t classes h w"]]:
        """The recurrent path of labels.

        Args:
            alone: SegNet's logits L^b.
            flow: T for the frames from the second on, in pixels of maps half the size.

        Returns:
            Merged logits, and the carried probabilities L^w. The first frame's are SegNet's own (L^w = L^b).
        """

        def cell(
            before: Probabilities, x: tuple[Tensor, Tensor]
        ) -> tuple[Probabilities, tuple[Tensor, Tensor]]:
            logits, flow = x
            carried = warp_by_flow(before, enlarge(flow, self.autoencoder.multiple))
            merged = self.merge(logits, carried)
            return merged.softmax(1), (merged, carried)

        still = torch.cat([torch.zeros_like(flow[:, :1]), flow], 1)  # to the first frame nothing moves
        first = alone[:, 0].softmax(1)
        _, outputs = unroll(cell, first, (alone, still), remat=Remat.parse(self.config.remat))
        return outputs

    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """The autoencoder's roll-out.

        Raises:
            Unfit: frames are not as configured or too few.
            ValueError: horizon is below 1.
        """
        return self.autoencoder.predict(video, horizon)
