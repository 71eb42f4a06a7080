"""F4 and F5: what is behind. Colours of each slot and of the background, kept while something hides them.

Memories hold colour only. The paper stores x = f * Gamma (section 2.2) and multiplies by Gamma-hat again (eq. 15), so a
half-certain mask would darken its object twice; training then removes all masks. Here masks alone make things
transparent: a memory takes the frame's colour where it is seen, and its own past elsewhere.
"""

from abc import ABC
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.bounds import require_at_least, require_one_of
from model.object_discovery.scale import Scale


@dataclass(frozen=True)
class Memories(Scale, ABC):
    """Settings of F4 and F5."""

    memory: str = "own"
    """Which pixels refresh a slot's colours: own, those it holds; unoccluded, those that no other slot holds; or all,
    ablation: nothing is remembered of what is hidden."""
    background_width: int = 16
    """Channels of the background's network; 0 = departure: no network, holes keep what was last seen there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(self, "memory", ("own", "unoccluded", "all"))
        require_at_least(self, 0, "background_width")


def update_colours(
    frame: Float[Tensor, "b c h w"], seen: Bool[Tensor, "b k h w"], registered: Float[Tensor, "b k c h w"]
) -> Float[Tensor, "b k c h w"]:
    """F4: the frame where the slot is seen, else the memory already moved to this frame (eq. 10).

    A selection, causal and without parameters: nothing unseen is made up. With `registered` zero at t = 1 this is
    the paper's start, x-tilde_1 = x_1.
    """
    return torch.where(seen[:, :, None], frame[:, None], registered)


def seen_by_slots(visible: Float[Tensor, "b k h w"], scope: str) -> Bool[Tensor, "b k h w"]:
    """Which pixels show the slot. `visible`: visible masks in identity order.

    "own": those that the slot itself holds, visible > 0.5 (x = f * Gamma read literally). "unoccluded": all that no
    other slot holds, which is where "copying from previous frames in occluded regions" (section 3.1) leaves the
    present frame. The two differ outside the slot's mask, where the colour does not show, and where the mask is
    about to grow: there "unoccluded" lets a slot that holds nothing yet see what it would gain. "all": no inpainting.
    """
    if scope == "all":
        return torch.ones_like(visible, dtype=torch.bool)
    if scope == "own":
        return visible > 0.5
    return visible.sum(1, keepdim=True) - visible <= 0.5


class BackgroundNet(nn.Module):
    """F5: the background behind the objects, from what is seen of it now and what was remembered (eq. 11).

    A small fully convolutional network with the same kernels for every colour channel: colour is folded into the
    batch. Its inputs are the visible background, the memory, and the hole itself (black and hidden look alike).
    The result is used in holes only, where it corrects the memory by a residual that starts at zero; without that
    gate the network could carry the whole frame and objects would never be needed. It runs at t = 1 as well, on an
    empty memory, where Algorithm 1 leaves holes black. The gate is soft, unlike F4's, so that a mask is rewarded for
    taking what moves out of the background.
    """

    def __init__(self, config: Memories) -> None:
        super().__init__()
        self.width = width = config.background_width
        if width:
            self.layers = nn.Sequential(
                nn.Conv2d(3, width, 3, padding=1), nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            )  # fmt: skip
            self.last = nn.Conv2d(width, 1, 3, padding=1)
            for parameter in self.last.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        frame: Float[Tensor, "b c h w"],
        visible: Float[Tensor, "b k h w"],
        memory: Float[Tensor, "b c h w"],
    ) -> Float[Tensor, "b c h w"]:
        """The new memory in [0, 1]: the frame where no slot holds the pixel, the network's guess in holes."""
        batch, channels, height, width = frame.shape
        free = 1 - visible.sum(1, keepdim=True)
        guess = memory
        if self.width:
            stacked = torch.stack([frame * free, memory, free.expand_as(frame)], 2).flatten(0, 1)
            residual = self.last(self.layers(stacked)).view(batch, channels, height, width)
            guess = (memory + residual.to(memory.dtype)).clamp(0, 1)
        return torch.lerp(guess, frame, free)
