"""F2: who is in front. A depth order from what each slot looks like, as a soft or hard permutation (section 3.1)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.layers.conv import StridedReader


class OrderNet(nn.Module):
    """The same CNN and MLP for every slot: [mask, expected visibility, frame] -> K numbers, a row of the logits.

    Follows Algorithm 1, F2(m, Gamma-hat, f); section 2.2 leaves Gamma-hat out. Stacked as rows, a row is a slot and a
    column a rank, so that P^T sorts (eq. 4).
    """

    def __init__(self, *, channels: int, slots: int, size: int, widths: tuple[int, ...], hidden: int) -> None:
        super().__init__()
        self.reader = StridedReader((channels + 2, *widths), size)
        self.mlp = nn.Sequential(nn.Linear(self.reader.features, hidden), nn.ReLU(), nn.Linear(hidden, slots))

    def forward(
        self,
        masks: Float[Tensor, "b k h w"],
        expected: Float[Tensor, "b k h w"],
        frame: Float[Tensor, "b c h w"],
    ) -> Float[Tensor, "b k k"]:
        """Logits in float32; row = slot, column = rank, rank 0 nearest. Both masks in identity order."""
        slots = masks.shape[1]
        frames = frame[:, None].expand(-1, slots, -1, -1, -1)
        images = torch.cat([masks[:, :, None], expected[:, :, None], frames], 2)
        logits: Tensor = self.mlp(self.reader(images.flatten(0, 1)))
        return logits.float().view(*masks.shape[:2], slots)
