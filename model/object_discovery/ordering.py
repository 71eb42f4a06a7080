"""F2: who is in front. A depth order from what each slot looks like, as a soft or hard permutation (section 3.1)."""

from abc import ABC
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.bounds import require_at_least
from model.layers.conv import StridedReader
from model.object_discovery.scale import Scale
from model.schedule import Ramp


@dataclass(frozen=True)
class Ordering(Scale, ABC):
    """Settings of F2."""

    temperature: Ramp = Ramp(1.0, 0.3, 10_000)
    """Temperature of Gumbel-Sinkhorn (the paper's tau), annealed."""
    sinkhorn_iterations: int = 20
    """How often Gumbel-Sinkhorn normalises rows and columns, at least 1."""
    noise: float = 1.0
    """Scale of the Gumbel noise in training; never in eval."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "sinkhorn_iterations")
        require_at_least(self, 0, "noise")
        self.temperature.require("temperature", 1e-2)


class OrderNet(nn.Module):
    """The same CNN and MLP for every slot: [mask, expected visibility, frame] -> K numbers, a row of the logits.

    Follows Algorithm 1, F2(m, Gamma-hat, f); section 2.2 leaves Gamma-hat out. Stacked as rows, a row is a slot and a
    column a rank, so that P^T sorts (eq. 4).
    """

    def __init__(self, config: Ordering) -> None:
        super().__init__()
        hidden = config.reader_hidden
        self.reader = StridedReader((config.channels + 2, *config.reader_widths), config.size)
        self.mlp = nn.Sequential(
            nn.Linear(self.reader.features, hidden), nn.ReLU(), nn.Linear(hidden, config.slots)
        )

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
