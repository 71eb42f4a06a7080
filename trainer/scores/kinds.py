"""KINDS: what the entries of a score stand for, where they begin, and how a mean is taken over them."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from trainer.scores.consistency import GAPS

Steps = Literal["predicted", "decomposed", "clip", "gap", "class"]


@dataclass(frozen=True)
class Kind:
    """What axis 1 of a score's values counts.

    Args:
        first: number of the first entry; None = the last entry is the last frame of the clip.
        alike: each entry that occurs counts alike in the mean; otherwise each value does.
    """

    first: int | None
    alike: bool = False

    def start(self, entries: int, frames: int) -> int:
        """Number of the first of so many entries, of clips of so many frames."""
        return frames - entries + 1 if self.first is None else self.first

    def mean(self, sums: Float[Tensor, "entries"], counts: Float[Tensor, "entries"]) -> float | None:
        """The mean of a score from the sums of its values and how many there were; None for none."""
        if not counts.sum():
            return None
        if not self.alike:
            return float(sums.sum() / counts.sum())
        means = [float(total / count) for total, count in zip(sums, counts, strict=True) if count]
        return sum(means) / len(means)


KINDS: dict[Steps, Kind] = {
    "predicted": Kind(None),  # the last frames of a clip, from 1
    "decomposed": Kind(1),  # its first frames
    "clip": Kind(0),  # one entry for all of it
    "gap": Kind(GAPS[0]),  # distances in time
    "class": Kind(0, alike=True),  # classes of pixels
}
