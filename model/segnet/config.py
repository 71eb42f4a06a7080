"""What can be chosen of SegNet basic and SegNet-flow; the defaults are CamVid's and the papers'.

SegNet       1,416,587 parameters with 11 classes, 1,416,652 with 12, batch normalisation's factors included
SegNetFlow   2,456,981 with 11: SegNet, AE-ConvLSTM-flow for colour (1,038,205), merge (18 C^2 + C = 2,189)
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from model.remat import Remat
from model.video_autoencoder.config import AEConvLSTMFlow

if TYPE_CHECKING:
    from model.segnet.flow import FlowSegmenter
    from model.segnet.frames import FrameSegmenter

# Median frequency balancing over CamVid's training labels, as in SegNet-Tutorial: sky, building, pole, road, pavement,
# tree, sign, fence, car, pedestrian, bicyclist.
CAMVID_WEIGHTS = (
    0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614,
)  # fmt: skip


@dataclass(frozen=True)
class SegNet:
    """SegNet basic on every frame alone.

    Args:
        channels: of the frames: 1 (grey) or 3.
        classes: numbered from 0; void is none of them.
        class_weights: factor of the cross-entropy for each class; () = all 1.
        width: channels of all maps.
        kernel: side of the convolutions, odd.
        remat: none, every:N, sqrt, bytes:N; there is no recurrence here, and it is ignored.
    """

    supervised: ClassVar[bool] = True

    channels: int = 3
    classes: int = 11
    class_weights: tuple[float, ...] = CAMVID_WEIGHTS
    width: int = 64
    kernel: int = 7
    remat: str = "none"

    def __post_init__(self) -> None:
        for name in ("channels", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, needs at least 1")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel: got {self.kernel}, needs an odd number, so that maps keep their size")
        check_classes(self.classes, self.class_weights)
        Remat.parse(self.remat)

    def build(self) -> "FrameSegmenter":
        """The model, randomly initialised from torch's default generator."""
        from model.segnet.frames import FrameSegmenter

        return FrameSegmenter(self)


@dataclass(frozen=True)
class SegNetFlow(AEConvLSTMFlow):
    """AE-ConvLSTM-flow for colour, SegNet basic on each frame, and a merge of its labels with those carried along.

    Args:
        classes: as SegNet's.
        class_weights: as SegNet's.
        width: channels of SegNet's maps; its kernels are as large as the autoencoder's.
        label_weight: of the cross-entropy, beside the reconstruction's 1 (the paper adds them).
        remat: as the autoencoder's. A budget of bytes is for each of two scans, the frames' and the labels'.
    """

    supervised: ClassVar[bool] = True

    channels: int = 3
    data: str = "real"
    classes: int = 11
    class_weights: tuple[float, ...] = CAMVID_WEIGHTS
    width: int = 64
    label_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise ValueError(f"width: got {self.width}, needs at least 1")
        if self.label_weight < 0:
            raise ValueError(f"label_weight: got {self.label_weight}, needs at least 0")
        if self.supervision != "each":
            raise ValueError(
                f"supervision: got {self.supervision!r}, needs 'each': labels are carried by the flow to every frame"
            )
        check_classes(self.classes, self.class_weights)

    def build(self) -> "FlowSegmenter":  # type: ignore[override]
        """The model, randomly initialised from torch's default generator."""
        from model.segnet.flow import FlowSegmenter

        return FlowSegmenter(self)


def check_classes(classes: int, weights: tuple[float, ...]) -> None:
    """ValueError unless there are two classes or more, each with a factor above 0 if any has."""
    if classes < 2:
        raise ValueError(f"classes: got {classes}, needs at least 2")
    if weights and len(weights) != classes:
        raise ValueError(
            f"class_weights: got {len(weights)} values for {classes} classes, needs one for each, or [] for all 1"
        )
    if any(weight <= 0 for weight in weights):
        raise ValueError(f"class_weights: got {list(weights)}, needs values above 0")
