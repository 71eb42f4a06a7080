"""Glimpses: objects read from a frame through a window, and drawn into one."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.layers.dense import linear, mlp
from model.ops.glimpse import crop, paste
from model.probability.normal import Normal, deviation
from model.sqair.config import Scene
from model.sqair.networks import decoder, encoder, trunk

OUTPUT_SCALE = 0.25
DARK = -2.0  # bias of a sigmoid decoder: objects start dim, or blurred ones would be paid for twice
COVERED = (-10.0, 20.0)  # from how much of a pixel objects cover to how much of the mean image shows


class Glimpses(nn.Module):
    """What a window shows, as a normal of `what`; shared by discovery and propagation, which masks its windows.

    `trunk` reads whole frames too.
    """

    def __init__(self, config: Scene, *, masked: bool) -> None:
        super().__init__()
        self.side = config.glimpse
        self.trunk, self.encoder = trunk(config), encoder(config, config.glimpse)
        self.head = linear(config.hidden, 2 * config.what)
        if masked:
            self.mask = mlp((config.hidden, config.narrow, config.glimpse**2), bias=1.0)

    def masks(self, temporal: Float[Tensor, "b d"]) -> Float[Tensor, "b 1 g g"]:
        """What of its window belongs to a known object, by its state."""
        return torch.sigmoid(self.mask(temporal)).view(-1, 1, self.side, self.side)

    def forward(
        self,
        frame: Float[Tensor, "b c h w"],
        where: Float[Tensor, "b 4"],
        masks: Float[Tensor, "b 1 g g"] | None = None,
    ) -> Normal:
        """Of the window at `where`; of a known object, only what `masks` says."""
        glimpse = crop(frame, where, self.side)
        if masks is not None:
            glimpse = glimpse * masks
        mean, raw = self.head(self.encoder(self.trunk(glimpse))).chunk(2, -1)
        return Normal(mean.float(), deviation(raw))


class Drawn(NamedTuple):
    """Objects alone in the frame."""

    objects: Float[Tensor, "*b k c h w"]
    covers: Float[Tensor, "*b k 1 h w"] | None  # how much of each pixel they cover, for a mean image


class Drawing(nn.Module):
    """What objects look like, and the frame that they add up to."""

    def __init__(self, config: Scene) -> None:
        super().__init__()
        self.side, self.size, self.channels = config.glimpse, config.size, config.channels
        self.sigmoid = config.decoder == "sigmoid"
        self.layers = decoder(config, DARK if self.sigmoid else 0.0)
        if not self.sigmoid:
            self.scale = nn.Parameter(torch.full((1,), OUTPUT_SCALE))
        self.mean_image = config.mean_image
        if config.mean_image:
            self.background = nn.Parameter(torch.zeros(config.channels, config.size, config.size))

    def forward(
        self,
        what: Float[Tensor, "*b k d"],
        where: Float[Tensor, "*b k 4"],
        patterns: Float[Tensor, "*b m k"],
    ) -> tuple[Float[Tensor, "*b m c h w"], Float[Tensor, "*b k c h w"]]:
        """A frame for each of the m sets of objects that `patterns` say are there; and each object alone."""
        drawn = self.drawn(what, where)
        return self.summed(drawn, patterns), drawn.objects

    def drawn(self, what: Float[Tensor, "*b k d"], where: Float[Tensor, "*b k 4"]) -> Drawn:
        """Each object alone."""
        leading, flat = what.shape[:-1], where.flatten(0, -2)
        pixels = self.layers(what.flatten(0, -2)).float()
        pixels = torch.sigmoid(pixels) if self.sigmoid else self.scale * pixels
        drawn = paste(pixels.view(-1, self.channels, self.side, self.side), flat, self.size)
        objects, covers = drawn.view(*leading, self.channels, self.size, self.size), None
        if self.mean_image:
            ones = paste(flat.new_ones(len(flat), 1, self.side, self.side), flat, self.size)
            covers = ones.view(*leading, 1, self.size, self.size)
        return Drawn(objects, covers)

    def summed(self, drawn: Drawn, patterns: Float[Tensor, "*b m k"]) -> Float[Tensor, "*b m c h w"]:
        """A frame for each set of objects."""
        frames = _sum(patterns, drawn.objects)
        if drawn.covers is not None:
            covered = _sum(patterns, drawn.covers)
            frames = frames + torch.sigmoid(COVERED[0] + COVERED[1] * covered) * self.background
        return frames


def _sum(
    patterns: Float[Tensor, "*b m k"], objects: Float[Tensor, "*b k c h w"]
) -> Float[Tensor, "*b m c h w"]:
    # Elementwise and in the order of slots, so that how many rows there are does not change a bit. Taken apart first:
    # the gradient of each slice of a whole would be a whole of zeros.
    shown = [pattern[..., None, None, None] for pattern in patterns.unbind(-1)]
    drawn = [each[..., None, :, :, :] for each in objects.unbind(-4)]
    total: Tensor = shown[0] * drawn[0]
    for pattern, each in zip(shown[1:], drawn[1:], strict=True):
        total = total + pattern * each
    return total
