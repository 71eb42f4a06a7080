"""Theta, the flow head: from memory to one vector a pixel (section 3.2.2)."""

from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.video_autoencoder.layers import xavier

KERNEL = 15  # its reach bounds the displacement that can be seen
# What the released code's scalars start at; a pixel of the paper's 32x32 maps (its grid says 2 / 31).
UNIT = 2 / 32


@dataclass(frozen=True)
class Layout:
    """Two 15x15 convolutions and what follows them. `biases` are of the three convolutions in order.

    `mix` is the 1x1 convolution: between the two components, on each alone ("depthwise"), or none.
    `rescaled` adds a trainable factor for each component.
    """

    biases: tuple[bool, bool, bool]
    mix: Literal["full", "depthwise", "none"] = "full"
    rescaled: bool = False


# The total of the paper leaves 29,706 parameters for the head. Read literally, its text gives four more.
LAYOUTS = {
    "a": Layout((False, False, True)),  # keeps all three named layers
    "b": Layout((True, True, False), "none", rescaled=True),
    "c": Layout((True, True, False), "depthwise"),
    "d": Layout((False, False, False), rescaled=True),
    "e": Layout((False, True, False)),
    "literal": Layout((True, True, True)),  # 29,710
    "released": Layout((True, True, True), rescaled=True),  # 29,712
}


class LargeConv(nn.Conv2d):
    """A convolution with a large square kernel and few outputs, that keeps the size of maps.

    Computed as one convolution of columns of the kernel with as many times more outputs, and a sum over horizontal
    shifts: the same numbers, from as many products. Libraries are slow at two outputs of 15x15: on one CPU core,
    64 to 2 channels on 32x32 maps, forward and backward take 0.2 s for 40 maps instead of 5.7 s.
    """

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n o h w"]:
        """The convolution; sums over shifts are at least in float32."""
        outputs, channels, side, _ = self.weight.shape
        columns = self.weight.flip(-1).permute(0, 3, 1, 2).reshape(outputs * side, channels, side, 1)
        parts = F.conv2d(input, columns, padding=(side // 2, 0)).flatten(2)
        parts = parts.to(torch.promote_types(parts.dtype, torch.float32))
        total = F.fold(parts, input.shape[-2:], (1, side), padding=(0, side // 2))
        return total if self.bias is None else total + self.bias[:, None, None]


class FlowHead(nn.Module):
    """Convolutions without non-linearity; the last one starts at zero, and with it the flow.

    So the layers before the last receive no gradient in the very first update, and from then on do.

    Args:
        hidden: channels of the memory.
        layout: a name of LAYOUTS.
        reach: bound of either component in pixels; 0 = none.
    """

    def __init__(self, hidden: int, layout: str, reach: float = 0.0) -> None:
        super().__init__()
        chosen, pad = LAYOUTS[layout], KERNEL // 2
        first, second, third = chosen.biases
        self.reach = reach
        self.layers = nn.Sequential(
            LargeConv(hidden, 2, KERNEL, padding=pad, bias=first),
            LargeConv(2, 2, KERNEL, padding=pad, bias=second),
        )
        if chosen.mix != "none":
            self.layers.append(nn.Conv2d(2, 2, 1, bias=third, groups=2 if chosen.mix == "depthwise" else 1))
        for layer in self.layers:
            xavier(cast(nn.Conv2d, layer))
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        # Kept in normalised units, as released: RMSprop moves every weight by about the learning rate, so units matter.
        self.scale = nn.Parameter(torch.full((2, 1, 1), UNIT)) if chosen.rescaled else None

    def forward(self, memory: Float[Tensor, "n d h w"]) -> Float[Tensor, "n 2 h w"]:
        """T of eq. 3 in pixels of the map, (x, y), float32: where to sample from, minus the motion."""
        flow: Tensor = self.layers(memory).float()
        if self.scale is not None:
            flow = flow * (self.scale / UNIT)
        return flow.clamp(-self.reach, self.reach) if self.reach else flow
