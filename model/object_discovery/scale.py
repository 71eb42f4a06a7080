"""Settings on which several parts of the model have to agree: sizes, and how slots are read."""

from abc import ABC
from dataclasses import dataclass

from model.bounds import require_at_least
from model.interface import ModelConfig

MOST = 1024  # slots: a config may be a stranger's, and each takes time before a weight is looked at


@dataclass(frozen=True)
class Scale(ModelConfig, ABC):
    """Frames, slots, and the networks that read a slot (F2, F3)."""

    size: int = 64
    """Side of the frames in pixels: 3 to 7 times a power of two, at least 8."""
    channels: int = 3
    """Channels of the frames: 3 or 1."""
    slots: int = 3
    """The most objects that can be told apart (the paper's K)."""
    frame_difference: bool = False
    """Departure: the change since the frame before is a further input of F1 and F3."""
    reader_width: int = 32
    """Channels of the CNNs that read a slot, in F2 and F3."""
    reader_hidden: int = 64
    """Width of the MLPs behind them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "channels", "slots", "reader_width", "reader_hidden")
        if self.slots > MOST:
            raise ValueError(f"slots: got {self.slots}, needs at most {MOST}")
        if self.halvings < 1 or not 3 <= self.size >> self.halvings <= 7:
            raise ValueError(
                f"size: got {self.size}, needs 3 to 7 times a power of two, at least 8, as 32, 48 or 64"
            )

    @property
    def inputs(self) -> int:
        """Channels of a frame, and of its difference to the one before where that is used."""
        return self.channels * (2 if self.frame_difference else 1)

    @property
    def halvings(self) -> int:
        """How often the readers of slots halve the frame: down to at most 7 pixels."""
        count = 0
        while self.size >> count > 7 and not (self.size >> count) % 2:
            count += 1
        return count

    @property
    def reader_widths(self) -> tuple[int, ...]:
        """Channels of each convolution of a reader."""
        return (self.reader_width // 2 or 1,) + (self.reader_width,) * (self.halvings - 1)
