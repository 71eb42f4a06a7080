"""SegNet basic (Kendall, Badrinarayanan and Cipolla 2015; layers of SegNet-Tutorial): frame -> logits."""

from typing import cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STAGES = 4


class SegNetBasic(nn.Module):
    """Four stages down, conv BN ReLU pool, and four up, unpool conv BN; then a linear classifier of each pixel.

    Unpooling puts each value back to where the pooling found its maximum. Sizes need not be even: the odd line is
    lost in pooling and stays zero in unpooling (180, 90, 45, 22, 11 pixels and back).

    Batch normalisation in training uses the statistics of all frames of the call, so all frames of a micro-batch
    belong into one call, and the call outside of what rematerialisation computes twice: there, chunks of time would
    change the statistics, and each recomputation would update the running ones again.

    Args:
        channels: of the frames.
        classes: of pixels.
        width: channels of all maps.
        kernel: side of the convolutions, odd.
    """

    def __init__(self, channels: int, classes: int, width: int, kernel: int) -> None:
        super().__init__()
        self.normalise = nn.LocalResponseNorm(5, 1e-4, 0.75)
        widths = [channels, *[width] * (STAGES - 1)]
        self.encoder = nn.ModuleList(_conv_norm(before, width, kernel) for before in widths)
        self.decoder = nn.ModuleList(_conv_norm(width, width, kernel) for _ in range(STAGES))
        self.classifier = nn.Conv2d(width, classes, 1)
        _start(self.classifier)

    def forward(self, frames: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes h w"]:
        """Logits, float32. Frames are in [0, 1], at least 16 x 16 pixels."""
        # To bytes' range: with the original's constants, values up to 1 would not be normalised at all.
        x = self.normalise(255 * frames.float())
        places, sizes = [], []
        for stage in self.encoder:
            sizes.append(x.shape[-2:])
            x, where = F.max_pool2d(F.relu(stage(x)), 2, return_indices=True)
            places.append(where)
        for stage in self.decoder:
            x = stage(F.max_unpool2d(x, places.pop(), [2, 2], output_size=list(sizes.pop())))
        return cast(Tensor, self.classifier(x)).float()


def _conv_norm(before: int, after: int, kernel: int) -> nn.Sequential:
    # The convolution's bias is undone by the normalisation, but is there in the original, and in its count.
    conv = nn.Conv2d(before, after, kernel, padding=kernel // 2)
    _start(conv)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


def _start(conv: nn.Conv2d) -> None:
    """Normal after He et al. (2015), bias zero."""
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
