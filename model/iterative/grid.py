"""Which cells a clip is made of: its frames, each drawn and refined some times, as one sequence.

The triangle of the paper is data: every cell does the same work, so that a scan over cells can be cut anywhere, and a
byte budget holds.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SCHEDULES = ("triangular", "constant", "first")
LEAST = 2  # drawings of a frame: before and after it is refined


class Grid(NamedTuple):
    """The cells of a clip in the order of time; a cell draws its frame, and refines the slots."""

    frame: Int[Tensor, "1 cells"]
    enters: Bool[Tensor, "1 cells"]  # a frame begins: the state becomes that of the frame before
    restarts: Bool[Tensor, "1 cells"]  # the posterior is the learned one
    refines: Bool[Tensor, "1 cells"]  # the state goes on
    moves: Bool[Tensor, "1 cells"]  # and the posterior with it
    weight: Float[Tensor, "1 cells"]  # of its loss

    def to(self, device: torch.device) -> "Grid":
        """The same on another device."""
        return Grid(*(x.to(device) for x in self))

    @property
    def firsts(self) -> Int[Tensor, "frames"]:
        """Numbers of the cells that draw a frame for the first time."""
        return torch.searchsorted(self.frame[0], torch.arange(self.frames))

    @property
    def lasts(self) -> Int[Tensor, "frames"]:
        """Numbers of the cells that draw it for the last time."""
        return torch.searchsorted(self.frame[0], torch.arange(self.frames), right=True) - 1

    @property
    def frames(self) -> int:
        """Of the clip."""
        return int(self.frame[0, -1]) + 1


def drawings(frame: int, decodes: int, schedule: str) -> int:
    """How often a frame, from 0, is drawn: the paper's R - t refinements, 1 at least, and once more."""
    match schedule:
        case "triangular":
            return max(decodes - frame, LEAST)
        case "first":
            return LEAST if frame else decodes
        case _:
            return decodes


def grid(
    frames: int, decodes: int, schedule: str, weights: str, *, carried: bool = False, last: bool = True
) -> Grid:
    """The cells of a clip of so many frames.

    Args:
        frames: 1 or more.
        decodes: drawings of the first frame, 2 or more.
        schedule: one of SCHEDULES.
        weights: relative, r / (n - 1) for drawing r of n, from 0; or released, (r + 1) / decodes.
        carried: the posterior goes on from frame to frame.
        last: the state goes on after the last drawing of a frame too.
    """
    counts = [drawings(frame, decodes, schedule) for frame in range(frames)]
    cells = [(frame, r, n) for frame, n in enumerate(counts) for r in range(n)]
    frame, r, n = (torch.tensor(column)[None] for column in zip(*cells, strict=True))
    final = r == n - 1
    return Grid(
        frame=frame,
        enters=r == 0,
        restarts=(r == 0) & ((frame == 0) | (not carried)),
        refines=~final | last,
        moves=~final,
        weight=r / (n - 1) if weights == "relative" else (r + 1) / decodes,
    )


def line(frames: int) -> Grid:
    """Each frame drawn and refined once, as if all were the same: state and posterior go on."""
    frame = torch.arange(frames)[None]
    start, always = frame == 0, torch.ones_like(frame, dtype=torch.bool)
    return Grid(frame, start, start, always, always, torch.ones(1, frames))
