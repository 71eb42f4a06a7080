"""What is met while clips are made of video: how many were left out, and why."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Findings:
    """Of one build, over all files; by address, or by name where that is for people.

    Attributes:
        damaged: what is wrong with a file, by its name.
        lost: damaged frames of a file, as far as it was read, by its name.
        cuts: file, and number of the shot that a cut begins.
        still: split, file and first frame of a clip in which too little moves.
        short: split, file and number of a shot of too few frames.
        empty: why no frames belong to a split.
    """

    damaged: dict[str, str] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    cuts: set[tuple[str, int]] = field(default_factory=set)
    still: set[tuple[str, str, int]] = field(default_factory=set)
    short: set[tuple[str, str, int]] = field(default_factory=set)
    empty: dict[str, str] = field(default_factory=dict)

    def statistics(self) -> dict[str, object]:
        """For the manifest."""
        damaged = {name: f"{lost} frames are damaged" for name, lost in self.lost.items() if lost}
        return {
            "cuts": len(self.cuts),
            "short_takes_left_out": len(self.short),
            "still_clips_left_out": len(self.still),
            "damaged_frames": sum(self.lost.values()),
            "damaged_files": damaged | self.damaged,
        }

    def left_out(self, split: str, frames: int) -> str:
        """What there is not in `split`, whose clips have so many `frames`; empty if nothing was left out."""
        return self.empty.get(split) or ", ".join(self._counts(split, frames))

    def _counts(self, split: str, frames: int) -> Iterator[str]:
        if short := sum(part == split for part, _, _ in self.short):
            ends = f"cuts or pauses: {len(self.cuts)}" if self.cuts else "no cuts"
            yield f"takes of fewer than {frames} frames were left out: {short} ({ends})"
        if still := sum(part == split for part, _, _ in self.still):
            yield f"clips in which too little moves: {still}"
        if lost := sum(self.lost.values()):
            yield f"damaged frames: {lost}"
