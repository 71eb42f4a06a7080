"""F2: who is in front. A depth order from what each slot looks like, as a soft or hard permutation (section 3.1)."""

from abc import ABC
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.bounds import require_at_least, require_one_of
from model.layers.conv import StridedReader
from model.object_discovery.scale import Scale
from model.ops.sinkhorn import MOST_ENUMERATED, all_permutations
from model.schedule import Ramp

LEAST = 1e-9  # probability of a rank, so that logits are finite


@dataclass(frozen=True)
class Ordering(Scale, ABC):
    """Settings of F2."""

    evidence: str = "network"
    """What orders slots: network, F2 as printed; looks, departure: whose look the frame shows where two overlap; or
    none, ablation: orders are drawn blindly in training, and by number in evaluation."""
    temperature: Ramp = Ramp(1.0, 0.3, 10_000)
    """Temperature of Gumbel-Sinkhorn (the paper's tau), annealed."""
    sinkhorn_iterations: int = 20
    """How often Gumbel-Sinkhorn normalises rows and columns, at least 1."""
    noise: float = 1.0
    """Scale of the Gumbel noise in training; never in eval."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(self, "evidence", ("network", "looks", "none"))
        require_at_least(self, 1, "sinkhorn_iterations")
        require_at_least(self, 0, "noise")
        self.temperature.require("temperature", 1e-2)


class Undecided(nn.Module):
    """No evidence of any order, for ablations."""

    def forward(
        self,
        masks: Float[Tensor, "b k h w"],
        expected: Float[Tensor, "b k h w"],
        frame: Float[Tensor, "b c h w"],
    ) -> Float[Tensor, "b k k"]:
        """Logits, all 0."""
        batch, slots = masks.shape[:2]
        return masks.new_zeros(batch, slots, slots)


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


class Trust(nn.Module):
    """Logits from evidence of who is in front of whom (departure), in place of F2's network.

    Each order of the slots is as probable as the evidence that it agrees with, times a learned trust; the logits are
    the logarithms of the probabilities that a slot is at a rank. Even with true masks and motion the network stays at
    chance: what it would need, what the slots look like, it does not see.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trust = nn.Parameter(torch.full((1,), 16.0))  # of one dimension: DeepSpeed saves none without

    def forward(self, evidence: Float[Tensor, "b k k"]) -> Float[Tensor, "b k k"]:
        """Row = slot, column = rank; `evidence`: see `looks.nearness`.

        Beyond as many slots as can be enumerated, a slot's evidence against all others stands for its place.
        """
        slots = evidence.shape[1]
        if slots > MOST_ENUMERATED:
            ranks = torch.linspace(1, -1, slots, device=evidence.device)
            logits: Tensor = self.trust * evidence.sum(2, keepdim=True) * ranks
            return logits
        orders, nearer = (x.to(evidence) for x in _orders(slots))
        agreement = (evidence[:, None] * nearer).sum((-1, -2))
        probable = torch.softmax(self.trust * agreement, 1)
        return (probable[..., None, None] * orders).sum(1).clamp(min=LEAST).log()


@lru_cache(maxsize=MOST_ENUMERATED)
def _orders(slots: int) -> tuple[Float[Tensor, "n k k"], Float[Tensor, "n k k"]]:
    """Every order, and [j, k] of each: 1 where slot j is nearer than slot k, else 0."""
    orders = all_permutations(slots)
    place = orders.argmax(2)
    return orders, (place[:, :, None] < place[:, None]).to(orders.dtype)
