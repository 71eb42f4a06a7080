"""AE-ConvLSTM-flow and SegNet-flow against second ones, written from arXiv 1511.06309 in plain loops.

A clip and a frame at a time, in float64, with bilinear sampling as a sum over all pixels. They share with the models
their weights and their choices of sizes, and no code. Compared are the loss and the gradient of every parameter.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.interface import Video
from model.segnet.flow import SegNetFlow
from model.video_autoencoder.flow import AEConvLSTMFlow

TINY = AEConvLSTMFlow(kernel=3, filters=3, hidden=4, huber_weight=2.0, huber_delta=0.05)
LABELLED = SegNetFlow(
    kernel=3, filters=3, hidden=4, width=4, classes=3, class_weights=(0.5, 2.0, 1.0), label_weight=0.7,
    huber_weight=2.0, huber_delta=0.05,
)  # fmt: skip


def sample(image: Float[Tensor, "c h w"], flow: Float[Tensor, "2 h w"]) -> Float[Tensor, "c h w"]:
    """Eq. 3 and its bilinear sampler: out(p) = image(p + T(p)), T in pixels (x, y), zero outside."""
    height, width = image.shape[1:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    source_x, source_y = (x + flow[0]).view(-1, 1), (y + flow[1]).view(-1, 1)
    near_x = (1 - (source_x - torch.arange(width)).abs()).clamp(min=0)
    near_y = (1 - (source_y - torch.arange(height)).abs()).clamp(min=0)
    return torch.einsum("cyx,ny,nx->cn", image, near_y, near_x).view(image.shape)


def enlarged(maps: Float[Tensor, "c h w"]) -> Float[Tensor, "c h2 w2"]:
    """Twice the size, nearest."""
    return maps.repeat_interleave(2, -1).repeat_interleave(2, -2)


def huber(flow: Float[Tensor, "2 h w"], delta: float) -> Float[Tensor, ""]:
    """Eq. 2 on the length of the gradient by central differences, the flow repeated at the edges; a mean."""
    padded = F.pad(flow[None], (1, 1, 1, 1), mode="replicate")[0]
    along_x = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    along_y = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    length = (along_x**2 + along_y**2 + 1e-300).sqrt()
    return torch.where(length <= delta, length**2 / 2, delta * (length - delta / 2)).mean()


class Paper:
    """Figures 1 and 7, for one clip; `weights` are leaves that collect gradients."""

    def __init__(self, model: nn.Module, config: AEConvLSTMFlow | SegNetFlow, prefix: str = "") -> None:
        self.config, self.prefix = config, prefix
        self.weights = {
            name: value.detach().double().requires_grad_()
            for name, value in model.state_dict().items()
            if value.is_floating_point()
        }

    def conv(self, x: Float[Tensor, "c h w"], name: str) -> Float[Tensor, "d h w"]:
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        groups = len(x) // weight.shape[1]
        return F.conv2d(x[None], weight, bias, padding=weight.shape[-1] // 2, groups=groups)[0]

    def theta(self, memory: Float[Tensor, "d h w"]) -> Float[Tensor, "2 h w"]:
        """The flow head (section 3.2.2), T in pixels of the maps."""
        flow, layer = memory, 0
        while (name := f"{self.prefix}head.layers.{layer}") + ".weight" in self.weights:
            flow, layer = self.conv(flow, name), layer + 1
        if (scale := self.weights.get(f"{self.prefix}head.scale")) is not None:
            flow = flow * scale * 16  # of normalised units: the 32 pixels of the paper's maps span 2
        return flow.clamp(-self.config.reach, self.config.reach) if self.config.reach else flow

    def predict(self, frames: Float[Tensor, "t c h w"]) -> tuple[list[Tensor], list[Tensor]]:
        """Decoder outputs and flows, for frames 2 .. T: encoder, ConvLSTM (eq. 1), Theta, sampler, decoder."""
        outputs, flows = [], []
        side = [size // 2 for size in frames.shape[2:]]
        h = c = torch.zeros(self.config.hidden, *side).double()
        for frame in frames[:-1]:
            x = F.max_pool2d(self.conv(frame, f"{self.prefix}encoder.0").tanh()[None], 2)[0]
            gates = self.conv(x, f"{self.prefix}memory.layers.0.input_conv") + self.conv(
                h, f"{self.prefix}memory.layers.0.hidden_conv"
            )
            i, f, o, g = gates.chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            flows.append(self.theta(h))
            outputs.append(self.conv(enlarged(sample(x, flows[-1])), f"{self.prefix}decoder.1"))
        return outputs, flows

    def objective(
        self, target: list[Tensor], outputs: list[Tensor], flows: list[Tensor]
    ) -> Float[Tensor, ""]:
        """Eq. 4 as means; of binary data the cross-entropy (section 5.1)."""
        total = torch.zeros(()).double()
        for true, output, flow in zip(target, outputs, flows, strict=True):
            if self.config.data == "binary":
                error = -(true * F.logsigmoid(output) + (1 - true) * F.logsigmoid(-output)).mean()
            else:
                error = (output - true).square().mean()
            total = total + error + self.config.huber_weight * huber(flow, self.config.huber_delta)
        return total / len(target)

    def labelled(
        self, alone: Float[Tensor, "t k h w"], flows: list[Tensor], labels: Int[Tensor, "t h w"]
    ) -> Float[Tensor, ""]:
        """Section 5.2: L_t = M(L^b_t, S(L_{t-1}; T_t)); the weighted cross-entropy in nats, a sum over pixels."""
        assert isinstance(self.config, SegNetFlow)
        total, before = torch.zeros(()).double(), alone[0].softmax(0)
        for t, logits in enumerate(alone):
            carried = sample(before, 2 * enlarged(flows[t - 1])) if t else before
            merged = logits + self.conv(torch.cat([logits.softmax(0), carried]), "merge.conv")
            before = merged.softmax(0)
            for k, weight in enumerate(self.config.class_weights):
                total = total - weight * merged.log_softmax(0)[k][labels[t] == k].sum()
        return total


def awake(model: nn.Module) -> None:
    """Move every weight: what starts at zero would hide what leads to it."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))


def assert_same_gradients(model: nn.Module, paper: Paper, but: str = "-") -> None:
    for name, parameter in model.named_parameters():
        if not name.startswith(but):
            assert parameter.grad is not None
            theirs = paper.weights[name].grad
            assert theirs is not None
            assert (parameter.grad - theirs).abs().max() <= 1e-4 * theirs.abs().max(), name


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, head="b"),
        replace(TINY, head="released", reach=1.5, data="real", smoothness="injected"),
        replace(TINY, head="c", data="real", channels=3),
    ],
    ids=["binary", "scaled", "released", "colour"],
)
def test_the_flow_autoencoder_is_that_of_the_equations(config: AEConvLSTMFlow) -> None:
    model = config.build()
    awake(model)
    clips = torch.rand(2, 5, config.channels, 10, 14)
    clips = (clips < 0.4).float() if config.data == "binary" else clips
    out = model(Video(clips), 0)
    out.loss.backward()

    paper, frames = Paper(model, config), clips.double()
    loss = torch.stack([paper.objective(list(clip[1:]), *paper.predict(clip)) for clip in frames]).mean()
    loss.backward()
    unseen = config.huber_weight * out.terms["smoothness"] if config.smoothness == "injected" else 0.0
    assert (out.loss + unseen).item() == pytest.approx(loss.item(), rel=1e-5)
    assert out.views.flow.abs().max() > 0.1
    assert_same_gradients(model, paper)


def test_segnet_flow_is_that_of_the_equations() -> None:
    """SegNet itself, which is compared elsewhere, gives the logits of single frames."""
    model = LABELLED.build()
    awake(model)
    clips, labels = torch.rand(2, 5, 3, 16, 18), torch.randint(-1, 3, (2, 5, 16, 18))
    labels[:, :3] = -1
    model(Video(clips), 0)  # running statistics that are not trivial
    model.eval()
    out = model(Video(clips, labels=labels), 0)
    out.loss.backward()

    paper, frames = Paper(model, LABELLED, "autoencoder."), clips.double()
    alone = model.segnet(clips.flatten(0, 1)).detach().double().unflatten(0, (2, 5))
    predicted = [paper.predict(clip) for clip in frames]
    loss = sum(paper.objective(list(f[1:]), *p) for f, p in zip(frames, predicted, strict=True)) / 2
    entropy = sum(paper.labelled(a, p[1], true) for a, p, true in zip(alone, predicted, labels, strict=True))
    loss = loss + LABELLED.label_weight * entropy / (labels >= 0).sum()
    loss.backward()
    assert out.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    assert_same_gradients(model, paper, but="segnet.")
