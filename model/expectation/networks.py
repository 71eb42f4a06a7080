"""What a slot sees its error with, and predicts its pixels with; how slots act on one another."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Encoder(nn.Module):
    """Three 4x4 convolutions of stride 2, and a layer over what is left; layer norm before each ELU."""

    def __init__(self, channels: int, size: int, maps: int, features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((channels, maps, 2 * maps, 4 * maps)):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.GroupNorm(1, after), nn.ELU()]
        flat = 4 * maps * (size // 8) ** 2
        self.layers = nn.Sequential(*layers, nn.Flatten(), *dense(flat, features), nn.ELU())

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Features of each picture."""
        features: Tensor = self.layers(x)
        return features


class Decoder(nn.Module):
    """Two layers, then three times: each pixel becomes four, and a 4x4 convolution."""

    def __init__(self, hidden: int, channels: int, size: int, maps: int, features: int) -> None:
        super().__init__()
        side = size // 8
        self.first = nn.Sequential(
            *dense(hidden, features), nn.ReLU(),
            *dense(features, 4 * maps * side**2), nn.ReLU(),
            nn.Unflatten(1, (4 * maps, side, side)),
        )  # fmt: skip
        layers: list[nn.Module] = []
        for before, after in pairwise((4 * maps, 2 * maps, maps, channels)):
            # An even convolution that keeps the size looks one pixel further right and down.
            layers += [nn.Upsample(scale_factor=2), nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(before, after, 4)]
            layers += [nn.GroupNorm(1, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-2])

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n c h w"]:
        """Predictions of pixels, in (0, 1)."""
        psi: Tensor = torch.sigmoid(self.layers(self.first(x)).float())
        return psi


class Recurrence(nn.Module):
    """A plain recurrence, each slot by itself: what N-EM has."""

    def __init__(self, hidden: int, features: int) -> None:
        super().__init__()
        self.layer = nn.Linear(hidden + features, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(
        self, theta: Float[Tensor, "b k d"], seen: Float[Tensor, "b k f"]
    ) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b k d"]]:
        """The next state of each slot, and what it is decoded from, both in (0, 1)."""
        return _both(self.layer(torch.cat([theta, seen], -1)), self.norm)


class Relations(nn.Module):
    """R-NEM's recurrence: what other slots do to a slot is summed over them, by attention (its eq. 5 to 9)."""

    def __init__(self, hidden: int, features: int, attention: int) -> None:
        super().__init__()
        self.own = nn.Sequential(*dense(hidden, hidden), nn.ReLU())
        self.pair = nn.Sequential(*dense(2 * hidden, hidden), nn.ReLU())
        self.effect = nn.Sequential(*dense(hidden, hidden), nn.ReLU())
        self.attention = nn.Sequential(
            *dense(hidden, attention), nn.Tanh(), nn.Linear(attention, 1), nn.Sigmoid()
        )
        self.layer = nn.Linear(2 * hidden + features, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(
        self, theta: Float[Tensor, "b k d"], seen: Float[Tensor, "b k f"]
    ) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b k d"]]:
        """As Recurrence."""
        own = self.own(theta)
        slots = own.shape[1]
        pairs = torch.cat(
            [
                own[:, :, None].expand(-1, -1, slots, -1),
                own[:, None].expand(-1, slots, -1, -1),
            ],
            -1,
        )
        # Each slot with every other one: k, then i != k.
        others = ~torch.eye(slots, dtype=torch.bool, device=own.device)
        pair = self.pair(pairs[:, others].unflatten(1, (slots, slots - 1)))
        effects = (self.attention(pair) * self.effect(pair)).sum(2)
        return _both(self.layer(torch.cat([own, effects, seen], -1)), self.norm)


def _both(before: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """The state goes on as it is, and is decoded from its norm, as in the released code."""
    return torch.sigmoid(before), torch.sigmoid(norm(before))


def dense(before: int, after: int) -> tuple[nn.Module, nn.Module]:
    """A layer and its norm, over its units."""
    return nn.Linear(before, after), nn.LayerNorm(after)
