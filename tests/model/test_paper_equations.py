"""The object-discovery model against a second one, written from the equations of arXiv 2103.05669 in plain loops.

A clip, a frame and a slot at a time, in float64, with pixel coordinates and bilinear interpolation as the sum of
eq. 9. It shares with the model its weights, its choices of sizes and its draws, and no code. Compared are every term
of the loss, every prediction and the gradient of every parameter: a wire that leads elsewhere changes them.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from model.interface import Video
from model.object_discovery.losses import pair_of_frames
from model.object_discovery.model import Config, ObjectDiscovery
from model.ops.sinkhorn import gumbel_noise
from model.schedule import Ramp

SMALL = Config(
    size=16, width=4, hidden=4, kernel=3, blocks=1, stem_stride=2, reader_width=4, reader_hidden=8,
    background_width=4, reconstruction=0.7, consistency=1.3, alpha=Ramp(4.0, 12.0, 100),
    temperature=Ramp(1.0, 0.3, 100), sparsity=Ramp(0.1, 0.3, 100), compactness=Ramp(0.2, 0.4, 100),
)  # fmt: skip
FRAMES, STEP = 6, 50


class Frame(NamedTuple):
    """A decomposed frame t. Lists run over slots."""

    raw: Float[Tensor, "k h w"]  # m_t
    sharp: Float[Tensor, "k h w"]  # S(m_t)
    order: Float[Tensor, "k k"]  # P_t, row = slot, column = rank
    motion: list[Tensor]  # z_t, 3 x 3, normalised coordinates
    colours: list[Tensor]  # x-tilde_t, c h w
    background: Float[Tensor, "c h w"]
    predicted: Float[Tensor, "c h w"]  # f-hat_{t+1}


def grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixel indices x and y from 0."""
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    return x, y


def move(image: Float[Tensor, "c h w"], z: Float[Tensor, "3 3"]) -> Float[Tensor, "c h w"]:
    """T_z (eq. 8, 9): the pixel at p' = z p shows what was at p; z in units where the frame spans [-1, 1]."""
    height, width = image.shape[1:]
    units = torch.tensor([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]]).double()
    backwards = torch.linalg.inv(torch.linalg.inv(units) @ z @ units)
    x, y = grid(height, width)
    source = torch.stack([x, y, torch.ones_like(x)], -1).view(-1, 3) @ backwards.T
    source = source[:, :2] / source[:, 2:]
    near_x = (1 - (source[:, :1] - torch.arange(width)).abs()).clamp(min=0)
    near_y = (1 - (source[:, 1:] - torch.arange(height)).abs()).clamp(min=0)
    return torch.einsum("cyx,ny,nx->cn", image, near_y, near_x).view(image.shape)


def occlusion(order: Float[Tensor, "k k"], masks: Float[Tensor, "k h w"]) -> Float[Tensor, "k h w"]:
    """P gamma(P^T masks): eq. 4 and 5, back from ranks to slots, with which eq. 6, 10, 15 and 24 pair it."""
    ranked = torch.einsum("jr,jhw->rhw", order, masks)
    visible = [(ranked[r] - ranked[:r].sum(0)).clamp(min=0) for r in range(len(ranked))]
    return torch.einsum("jr,rhw->jhw", order, torch.stack(visible))


def composed(shown: Tensor, colours: list[Tensor], background: Tensor) -> Float[Tensor, "c h w"]:
    """Eq. 14 and 15, and eq. 24."""
    objects = sum((weight * colour for weight, colour in zip(shown, colours, strict=True)), torch.zeros(()))
    return objects + (1 - shown.sum(0)) * background


def centre(mask: Float[Tensor, "h w"], faintest: float) -> Float[Tensor, "2"]:
    """Eq. 20 in units where the frame spans [-1, 1]; `faintest` of the frame is added to the area."""
    x, y = grid(*mask.shape)
    area = mask.sum() + faintest * mask.numel()
    moments = [(mask * (2 * (p + 0.5) / n - 1)).sum() for p, n in zip((x, y), mask.shape[::-1], strict=True)]
    return torch.stack(moments) / area


def spread(mask: Float[Tensor, "h w"]) -> Float[Tensor, ""]:
    """Eq. 19 of one slot."""
    x, y = (2 * (p + 0.5) / n - 1 for p, n in zip(grid(*mask.shape), mask.shape[::-1], strict=True))
    cx, cy = centre(mask, 1e-6)
    return (((x - cx) ** 2 + (y - cy) ** 2) * mask).sum() / (mask.sum() + 1e-3 * mask.numel())


class Paper:
    """F1 to F5, Algorithm 1 and the objective, for one clip; `weights` are leaves that collect gradients."""

    def __init__(self, model: ObjectDiscovery) -> None:
        self.config, self.draws = model.config, model.training
        self.weights = {
            name: value.detach().double().requires_grad_() for name, value in model.state_dict().items()
        }

    def conv(self, x: Float[Tensor, "c h w"], name: str, stride: int = 1) -> Float[Tensor, "d h2 w2"]:
        weight = self.weights[f"{name}.weight"]
        bias = self.weights.get(f"{name}.bias")
        return F.conv2d(x[None], weight, bias, stride, padding=weight.shape[-1] // 2)[0]

    def linear(self, x: Float[Tensor, "d"], name: str) -> Float[Tensor, "e"]:
        return self.weights[f"{name}.weight"] @ x + self.weights[f"{name}.bias"]

    def read(self, x: Float[Tensor, "c h w"], name: str) -> Float[Tensor, "d"]:
        """The CNN of F2 and F3."""
        layer = 0
        while f"{name}.{layer}.weight" in self.weights:
            x, layer = self.conv(x, f"{name}.{layer}", stride=2).relu(), layer + 2
        return x.flatten()

    def masks(self, seen: Tensor, lstm: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """F1 (eq. 1): residual convolutions, positions, ConvLSTM without peepholes; m_t and the next (h, c)."""
        x = self.conv(seen, "masks.stem", self.config.stem_stride)
        for block in range(self.config.blocks):
            inner = self.conv(x.relu(), f"masks.blocks.{block}.first").relu()
            x = x + self.conv(inner, f"masks.blocks.{block}.second")
        h, c = lstm
        x = x.relu() + positions(*x.shape)
        gates = self.conv(x, "masks.lstm.input_conv") + self.conv(h, "masks.lstm.hidden_conv")
        i, f, o, g = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        coarse = F.pixel_shuffle(self.conv(h, "masks.spread.0"), self.config.stem_stride).relu()
        fine = self.conv(seen, "masks.detail").relu()
        return self.conv(torch.cat([coarse, fine]), "masks.head").sigmoid(), (h, c)

    def ordered(self, sharp: Tensor, expected: Tensor, frame: Tensor, noise: Tensor) -> Float[Tensor, "k k"]:
        """P = F2(m, Gamma-hat, f) (section 3.1): Gumbel-Sinkhorn while training, else the best permutation."""
        rows = []
        for j in range(len(sharp)):
            features = self.read(torch.cat([sharp[j][None], expected[j][None], frame]), "order.reader.layers")
            rows.append(self.linear(self.linear(features, "order.mlp.0").relu(), "order.mlp.2"))
        logits = torch.stack(rows)
        if not self.draws:
            slots, values = range(len(rows)), logits.tolist()
            best = max(permutations(slots), key=lambda ranks: sum(values[j][ranks[j]] for j in slots))
            return torch.eye(len(rows)).double()[list(best)]
        scores = (logits + noise) / self.config.temperature.at(STEP)
        for _ in range(self.config.sinkhorn_iterations):
            scores = scores - scores.logsumexp(1, keepdim=True)
            scores = scores - scores.logsumexp(0, keepdim=True)
        return scores.exp()

    def moved(self, seen: Tensor, mask: Tensor, before: Tensor, past: Tensor) -> Float[Tensor, "3 3"]:
        """z = F3(f, m_t, m_{t-1}, z_{t-1}) (eq. 7) of one slot; the MLP sees centres of squared masks as well."""
        features = self.read(torch.cat([mask[None], before[None], seen]), "motion.reader.layers")
        now, then = centre(mask**2, 1e-3), centre(before**2, 1e-3)
        change = 10 * (past - torch.eye(3)).flatten()
        known = torch.cat([features, change, now, 10 * (now - then)])
        numbers = self.linear(self.linear(known, "motion.first").relu(), "motion.last").tanh()
        x, y = self.config.shift_bound * numbers[:2]
        a, b, c, d, u, v = F.pad(self.config.shape_bound * numbers[2:], (0, 8 - len(numbers)))
        zero = torch.zeros_like(x)
        rows = [torch.stack(row) for row in ([a, b, x], [c, d, y], [u, v, zero])]
        return torch.eye(3) + torch.stack(rows)

    def behind(self, frame: Tensor, shown: Tensor, memory: Tensor) -> Float[Tensor, "c h w"]:
        """F5 (eq. 6, 11): the same kernels for every colour, a residual, and only in holes."""
        free, guess = 1 - shown.sum(0), []
        for colour, kept in zip(frame, memory, strict=True):
            x = torch.stack([colour * free, kept, free])
            x = self.conv(self.conv(x, "background.layers.0").relu(), "background.layers.2").relu()
            guess.append((kept + self.conv(x, "background.last")[0]).clamp(0, 1))
        return free * frame + (1 - free) * torch.stack(guess)

    def decompose(self, frames: Float[Tensor, "t c h w"], noise: Float[Tensor, "t k k"]) -> Iterator[Frame]:
        """Algorithm 1, for t = 1 .. T-1."""
        config, slots = self.config, range(self.config.slots)
        side = config.size // config.stem_stride
        lstm = (torch.zeros(config.hidden, side, side).double(),) * 2
        last: Frame | None = None
        registered, expected, memory = (
            [torch.zeros(())] * len(slots),
            torch.zeros(()),
            torch.zeros_like(frames[0]),
        )
        for t, frame in enumerate(frames[:-1]):
            seen = torch.cat([frame, frame - frames[max(0, t - 1)]]) if config.frame_difference else frame
            raw, lstm = self.masks(seen, lstm)
            # Eq. 2, 3, its sign put right.
            sharp = 1 / (1 + torch.exp(-config.alpha.at(STEP) * (raw - config.beta)))
            order = self.ordered(sharp, (expected if last else sharp).detach(), frame, noise[t])
            shown = occlusion(order, sharp)
            colours = [torch.where(shown[j] > 0.5, frame, registered[j]) for j in slots]  # F4, eq. 10
            memory = self.behind(frame, shown, memory)
            before, past = (last.raw, last.motion) if last else (raw, [torch.eye(3).double()] * len(slots))
            motion = [self.moved(seen, raw[j], before[j], past[j]) for j in slots]
            registered = [move(colours[j], motion[j]) for j in slots]  # eq. 12
            carried = torch.cat([move(sharp[j][None], motion[j]) for j in slots])
            expected = occlusion(order, carried)  # eq. 13
            last = Frame(raw, sharp, order, motion, colours, memory, composed(expected, registered, memory))
            yield last

    def reproject(self, source: Frame, motion: list[Tensor], order: Tensor) -> Float[Tensor, "c h w"]:
        """Eq. 22 to 24."""
        masks = torch.cat([move(m[None], z) for m, z in zip(source.sharp, motion, strict=True)])
        colours = [move(x, z) for x, z in zip(source.colours, motion, strict=True)]
        return composed(occlusion(order, masks), colours, source.background)

    def cycle(self, parts: list[Frame], frames: Tensor, first: int, second: int) -> Float[Tensor, ""]:
        """L_c (eq. 21, 25) between frames `first` and `second`, counted from 0."""
        path = [torch.eye(3).double()] * self.config.slots
        for part in parts[first:second]:
            path = [z @ before for z, before in zip(part.motion, path, strict=True)]
        there = self.reproject(parts[first], path, parts[second - 1].order)
        back = self.reproject(parts[second], [torch.linalg.inv(z) for z in path], parts[first + 1].order)
        return ((there - frames[second]).abs().mean() + (back - frames[first]).abs().mean()) / 2

    def objective(
        self, clips: Float[Tensor, "b t c h w"], noise: Tensor, pair: tuple[int, int]
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Terms and loss (eq. 16 to 20 as means over all that they do not index), predictions b t-1 c h w."""
        decomposed = [list(self.decompose(frames, n)) for frames, n in zip(clips, noise, strict=True)]
        every = [part for parts in decomposed for part in parts]
        predicted = torch.stack([part.predicted for part in every]).view_as(clips[:, 1:])
        cycles = [self.cycle(parts, frames, *pair) for parts, frames in zip(decomposed, clips, strict=True)]
        terms = {
            "reconstruction": (predicted - clips[:, 1:]).abs().mean(),
            "consistency": torch.stack(cycles).mean(),
            "sparsity": torch.stack([part.raw.mean() for part in every]).mean(),
            "compactness": torch.stack([spread(mask) for part in every for mask in part.raw]).mean(),
        }
        config = self.config
        weights = {
            "reconstruction": config.reconstruction,
            "consistency": config.consistency,
            "sparsity": config.sparsity.at(STEP),
            "compactness": config.compactness.at(STEP),
        }
        return terms, torch.stack([weights[name] * term for name, term in terms.items()]).sum(), predicted


def positions(channels: int, height: int, width: int) -> Float[Tensor, "channels height width"]:
    """Section 3.1: sines and cosines of the column in the first half of the channels, of the row in the second."""
    code, (x, y) = torch.zeros(channels, height, width).double(), grid(height, width)
    for i in range(channels // 4):
        frequency = (2 * max(height, width)) ** (-4 * i / channels)
        for half, p in ((0, x), (channels // 2, y)):
            code[half + 2 * i], code[half + 2 * i + 1] = (frequency * p).sin(), (frequency * p).cos()
    return code


@pytest.mark.parametrize(
    ("config", "train"),
    [
        (replace(SMALL, slots=3, motion="affine"), True),
        (replace(SMALL, slots=3, motion="affine"), False),
        (replace(SMALL, slots=2, motion="projective", frame_difference=True), True),
        (replace(SMALL, slots=1, motion="translation", stem_stride=1), True),
    ],
    ids=["affine", "affine-eval", "projective", "translation"],
)
def test_loss_predictions_and_gradients_are_those_of_the_equations(config: Config, train: bool) -> None:
    model = config.build().train(train)
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at zero would hide what leads to it
            parameter.add_(0.15 * torch.randn_like(parameter))
        assert isinstance(model.masks.head, nn.Conv2d)
        model.masks.head.weight.mul_(3)
    clips = torch.rand(2, FRAMES, 3, 16, 16)
    torch.manual_seed(5)
    out = model(Video(clips), STEP)
    out.loss.backward()

    torch.manual_seed(5)
    shape = (2, FRAMES - 1, config.slots, config.slots)
    noise = gumbel_noise(shape, clips) if train else torch.zeros(shape)
    pair = pair_of_frames(FRAMES - 1, draw=train)
    assert pair is not None
    paper = Paper(model)
    terms, loss, predicted = paper.objective(clips.double(), noise.double(), pair)
    loss.backward()

    assert out.views.prediction is not None
    torch.testing.assert_close(out.views.prediction.double(), predicted, atol=2e-5, rtol=0)
    for name, term in terms.items():
        assert out.terms[name].item() == pytest.approx(term.item(), rel=1e-5), name
    assert out.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        mine, theirs = (
            torch.zeros(()) if g is None else g for g in (parameter.grad, paper.weights[name].grad)
        )
        assert (mine - theirs).abs().max() <= 1e-3 * theirs.abs().max(), name
