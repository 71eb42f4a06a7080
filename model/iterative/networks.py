"""The networks of a cell: what draws slots, what reads maps, the recurrence in two directions, what is expected."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.iterative.config import OverTime, Refining

ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": nn.ELU, "silu": nn.SiLU}
BROADCAST_LAYERS = 4
# Of a primed start: biases of two gates, factor of the weights of corrections. Small corrections tell the decoder
# nothing of the frame, and it learns to ignore latents.
FORGET, MIX, CORRECTION = 1.0, -2.0, 9.0
# Of a decoder to a quarter of the pixels: factors of what latents make of positions, and of the logits of masks.
TURNED, APART = 3.0, 4.0
SINGLE = 6  # maps: mask, its logit, responsibility, log-likelihood, two coordinates


def coordinates(size: int, like: Tensor) -> Float[Tensor, "2 {size} {size}"]:
    """Column and row of each pixel, from -1 to 1."""
    line = torch.linspace(-1, 1, size, device=like.device)
    return torch.stack([line.expand(size, -1), line[:, None].expand(-1, size)])


class Start(nn.Module):
    """The posterior that every slot starts from: means and log-variances, called for so many rows."""

    def __init__(self, config: Refining) -> None:
        super().__init__()
        value = torch.rand(2, config.latent) - 0.5
        value[1] += 2 * math.log(config.start_deviation)
        self.value = nn.Parameter(value.flatten())

    def forward(self, rows: int) -> Float[Tensor, "n d2"]:
        """The same for all."""
        # A copy: a mere view of a weight claims to need a gradient without a graph too, and stops who counts FLOPs.
        return self.value.expand(rows, -1).clone()


class Decoder(nn.Module):
    """Latents, and with them the state of the frame before, to means before the sigmoid and logits of masks."""

    def __init__(self, config: Refining, state: int) -> None:
        super().__init__()
        inputs, hidden = config.latent + state, config.decoder_hidden
        act = ACTIVATIONS[config.activation]
        enlarging = config.decoder == "subpixel"
        self.layers: nn.Module = nn.Identity()
        if hidden:
            first = nn.Linear(inputs, hidden)
            if config.primed:
                with torch.no_grad():
                    first.weight[:, : config.latent] *= math.sqrt(inputs / config.latent)
            after = [] if enlarging else [nn.Linear(hidden, config.decoder_width)]
            self.layers = nn.Sequential(first, act(), *after)
        code = (hidden if enlarging else config.decoder_width) if hidden else inputs
        self.pixels = (SubPixels if enlarging else Broadcast)(config, code)

    def forward(
        self, z: Float[Tensor, "n d"], state: Float[Tensor, "n s"] | None
    ) -> Float[Tensor, "n c1 h w"]:
        """What a slot draws; logits of masks are the last channel."""
        pixels: Tensor = self.pixels(self.layers(z if state is None else torch.cat([z, state], 1)))
        return pixels


class Broadcast(nn.Module):
    """The same numbers at every pixel, with its coordinates, through 3x3 convolutions (Watters et al. 2019)."""

    def __init__(self, config: Refining, inputs: int) -> None:
        super().__init__()
        act, width = ACTIVATIONS[config.activation], config.decoder_width
        self.size = config.size
        self.before = act() if config.decoder_hidden else nn.Identity()
        layers: list[nn.Module] = []
        for before, after in pairwise((inputs + 2, *[width] * BROADCAST_LAYERS)):
            layers += [nn.Conv2d(before, after, 3, padding=1), act()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, config.channels + 1, 3, padding=1))

    def forward(self, code: Float[Tensor, "n d"]) -> Float[Tensor, "n c1 h w"]:
        """See Decoder."""
        everywhere = self.before(code)[:, :, None, None].expand(-1, -1, self.size, self.size)
        where = coordinates(self.size, code).expand(len(code), -1, -1, -1)
        pixels: Tensor = self.layers(torch.cat([where, everywhere], 1))
        return pixels


class SubPixels(nn.Module):
    """Learned positions at a sixteenth of the pixels; channels become squares of pixels, twice.

    The numbers of a slot are added to positions, and scale them, so that where something is drawn depends on them from
    the start; and masks differ from slot to slot then. Without either, slots draw the same mean of all frames for
    hundreds of steps.
    """

    def __init__(self, config: Refining, inputs: int) -> None:
        super().__init__()
        width, side = config.decoder_width, config.size // 4
        narrow = max(1, width // 2)
        act = ACTIVATIONS[config.activation]
        self.inputs = nn.Linear(inputs, 2 * width)
        self.position = nn.Parameter(0.5 * torch.randn(width, side, side))
        last = nn.Conv2d(width, 4 * (config.channels + 1), 3, padding=1)
        self.layers = nn.Sequential(
            act(),
            nn.Conv2d(width, 4 * narrow, 3, padding=1),
            nn.PixelShuffle(2),
            act(),
            nn.Conv2d(narrow, width, 3, padding=1),
            act(),
            last,
            nn.PixelShuffle(2),
        )
        with torch.no_grad():
            self.inputs.weight[width:] *= TURNED
            last.weight[4 * config.channels :] *= APART

    def forward(self, code: Float[Tensor, "n d"]) -> Float[Tensor, "n c1 h w"]:
        """See Decoder."""
        added, turned = self.inputs(code)[:, :, None, None].chunk(2, 1)
        pixels: Tensor = self.layers(added + (1 + turned) * self.position)
        return pixels


class Reader(nn.Module):
    """Maps of a slot to numbers: 3x3 convolutions, averages over squares, a layer."""

    def __init__(self, config: Refining) -> None:
        super().__init__()
        act, maps = ACTIVATIONS[config.activation], config.maps
        kinds = 2 + config.gradients  # of colours: the frame's, the slot's, their gradient
        before = kinds * config.channels + SINGLE + config.gradients
        layers: list[nn.Module] = []
        for stride in config.strides:
            layers += [nn.Conv2d(before, maps, 3, stride, padding=1), act()]
            before = maps
        self.layers = nn.Sequential(*layers, nn.AvgPool2d(config.pool), nn.Flatten())
        self.last = nn.Sequential(nn.Linear(maps * config.side**2, config.hidden), act())

    def forward(self, maps: Float[Tensor, "n m h w"]) -> Float[Tensor, "n d"]:
        """Numbers of each slot."""
        numbers: Tensor = self.last(self.layers(maps))
        return numbers


class Recurrence(nn.Module):
    """An LSTM with one state, or with two, whose memories a gate mixes (Bahar et al. 2018).

        c = f (l c_t + (1 - l) c_r) + i g,    h = o tanh(c)

    for the temporal state (h_t, c_t) of the frame before and the state (h_r, c_r) of the refinement before.
    """

    def __init__(self, config: Refining, inputs: int) -> None:
        super().__init__()
        hidden, temporal = config.hidden, config.temporal
        gates = (5 if temporal else 4) * hidden
        self.inputs, self.refinement = nn.Linear(inputs, gates), nn.Linear(hidden, gates, bias=False)
        self.temporal = nn.Linear(hidden, gates, bias=False) if temporal else None
        if config.primed:
            with torch.no_grad():
                self.inputs.bias[hidden : 2 * hidden] += FORGET
                self.inputs.bias[4 * hidden :] += MIX

    def forward(
        self,
        x: Float[Tensor, "n i"],
        refinement: tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]],
        temporal: tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]],
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """The next state of refinement, (h, c)."""
        gates = self.inputs(x) + self.refinement(refinement[0])
        memory = refinement[1]
        if self.temporal is not None:
            gates = gates + self.temporal(temporal[0])
            mix = torch.sigmoid(gates[:, 4 * memory.shape[1] :].float())
            memory = mix * temporal[1] + (1 - mix) * memory
        i, f, o, new = gates[:, : 4 * memory.shape[1]].float().chunk(4, 1)
        cell = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(new)
        return torch.sigmoid(o) * torch.tanh(cell), cell


class Correction(nn.Module):
    """What is added to the posterior."""

    def __init__(self, config: Refining) -> None:
        super().__init__()
        self.layer = nn.Linear(config.hidden, 2 * config.latent)
        if config.primed:
            with torch.no_grad():
                self.layer.weight *= CORRECTION
                self.layer.bias.zero_()

    def forward(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n d2"]:
        """From the state of refinement."""
        change: Tensor = self.layer(hidden).float()
        return change


class Prior(nn.Module):
    """What is expected of a slot, from the last state of the frame before: means and log-variances."""

    def __init__(self, config: OverTime) -> None:
        super().__init__()
        self.released = config.prior == "released"
        self.layer = nn.Linear(config.hidden, config.hidden)
        self.last = nn.Linear(config.hidden, 2 * config.latent)
        if config.primed:
            with torch.no_grad():
                self.last.weight *= 0.1
                self.last.bias.zero_()

    def forward(self, state: Float[Tensor, "n d"]) -> Float[Tensor, "n d2"]:
        """A free log-variance, or, as released, one that is not negative."""
        mean, spread = self.last(F.relu(self.layer(state))).float().chunk(2, 1)
        return torch.cat([mean, F.softplus(spread) if self.released else spread.clamp(-6, 3)], 1)
