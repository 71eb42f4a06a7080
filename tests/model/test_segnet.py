"""SegNet basic and SegNet-flow: sizes, odd maps, supervision, and which way labels go with the flow."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.interface import Video
from model.segnet.flow import FlowSegmenter, Merge, SegNetFlow
from model.segnet.frames import SegNet
from model.segnet.network import SegNetBasic
from model.segnet.supervision import CAMVID_WEIGHTS, label_loss
from model.video_autoencoder.flow import AEConvLSTMFlow

TINY = SegNetFlow(kernel=3, filters=4, hidden=6, width=4, classes=3, class_weights=())


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_as_many_as_published() -> None:
    with torch.device("meta"):
        assert count(SegNet().build()) == 1_416_587
        assert count(SegNet(classes=12, class_weights=()).build()) == 1_416_652
        assert count(SegNetFlow().build().autoencoder) == 1_038_205
        assert count(Merge(12)) == 2604
        assert count(SegNetFlow().build()) == 1_416_587 + 1_038_205 + 18 * 11**2 + 11


def test_odd_maps_come_back_to_their_size_and_place() -> None:
    """180 x 240 is pooled to 90, 45, 22, 11 rows; what pooling loses is zero, the rest returns to its maximum."""
    net = SegNetBasic(3, 11, 4, 3)
    seen: list[tuple[int, ...]] = []
    for stage in [*net.encoder, *net.decoder]:
        stage.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[-2:])))
    assert net(torch.rand(1, 3, 180, 240)).shape == (1, 11, 180, 240)
    sizes = [(180, 240), (90, 120), (45, 60), (22, 30)]
    assert seen == sizes + sizes[::-1]
    assert net(torch.rand(2, 3, 17, 31)).shape == (2, 11, 17, 31)


def test_the_network_is_the_one_of_the_prototxt() -> None:
    """Against the layers written out one by one, in evaluation with running statistics that are not trivial."""
    net = SegNetBasic(3, 5, 6, 7)
    net(torch.rand(4, 3, 20, 24))
    net.eval()
    frames = torch.rand(2, 3, 20, 24)
    data = 255 * frames
    windows = F.pad(data.square(), (0, 0, 0, 0, 2, 2)).unfold(1, 5, 1).sum(-1)
    x = data / (1 + 1e-4 / 5 * windows) ** 0.75
    state, stack = net.state_dict(), []

    def conv_norm(x: Tensor, name: str) -> Tensor:
        x = F.conv2d(x, state[f"{name}.0.weight"], state[f"{name}.0.bias"], padding=3)
        mean, var = (state[f"{name}.1.running_{key}"].view(-1, 1, 1) for key in ("mean", "var"))
        scale, shift = (state[f"{name}.1.{key}"].view(-1, 1, 1) for key in ("weight", "bias"))
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    for i in range(4):
        x = conv_norm(x, f"encoder.{i}").relu()
        height, width = (side // 2 * 2 for side in x.shape[-2:])
        tiles = x[..., :height, :width].unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
        stack.append((x.shape, tiles.argmax(-1)))
        x = tiles.amax(-1)
    for i in range(4):
        shape, place = stack.pop()
        large = x.new_zeros(shape)
        for corner in range(4):
            rows, columns = 2 * x.shape[2], 2 * x.shape[3]
            large[..., corner // 2 : rows : 2, corner % 2 : columns : 2] = torch.where(place == corner, x, 0)
        x = conv_norm(large, f"decoder.{i}")
    expected = F.conv2d(x, state["classifier.weight"], state["classifier.bias"])
    torch.testing.assert_close(net(frames), expected, atol=1e-4, rtol=1e-4)


def test_cross_entropy_counts_labelled_pixels_alone_and_weighs_classes() -> None:
    logits, labels = torch.randn(2, 3, 4, 5, 6), torch.randint(-1, 4, (2, 3, 5, 6))
    weights = (0.5, 2.0, 1.0, 4.0)
    total, pixels = 0.0, 0
    for b, t, y, x in (labels >= 0).nonzero().tolist():
        true = int(labels[b, t, y, x])
        total -= weights[true] * float(logits[b, t, :, y, x].log_softmax(0)[true])
        pixels += 1
    assert float(label_loss(logits, labels, weights)) == pytest.approx(total / pixels, rel=1e-5)
    changed = torch.where((labels < 0)[:, :, None], torch.randn_like(logits), logits)
    torch.testing.assert_close(label_loss(changed, labels, weights), label_loss(logits, labels, weights))


@pytest.mark.parametrize("labels", [None, torch.full((2, 3, 5, 6), -1)])
def test_without_labels_the_loss_is_zero_and_can_be_differentiated(labels: Tensor | None) -> None:
    logits = torch.randn(2, 3, 4, 5, 6, requires_grad=True)
    loss = label_loss(logits, labels, ())
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_reconstruction_teaches_without_labels_and_is_that_of_the_autoencoder() -> None:
    model = TINY.build()
    video = Video(torch.rand(2, 4, 3, 16, 16))
    out = model(video, 0)
    torch.testing.assert_close(out.loss, model.autoencoder(video, 0).loss)
    out.loss.backward()
    assert any(p.grad.any() for p in model.autoencoder.parameters())
    assert not any(p.grad.any() for p in model.segnet.parameters() if p.grad is not None)


def test_labels_count_by_their_weight() -> None:
    model = replace(TINY, label_weight=0.3).build()
    video = Video(torch.rand(2, 4, 3, 16, 16), labels=torch.randint(-1, 3, (2, 4, 16, 16)))
    out, alone = model(video, 0), model.autoencoder(video, 0).loss
    torch.testing.assert_close(out.loss, alone + 0.3 * out.terms["label_cross_entropy"])


def test_at_the_start_segnet_alone_decides() -> None:
    model = TINY.build()
    frames = torch.rand(2, 4, 3, 16, 16)
    model(Video(frames), 0)
    views = model.eval()(Video(frames), 0).views
    alone = model.segnet(frames.flatten(0, 1)).softmax(1).unflatten(0, (2, 4))
    torch.testing.assert_close(views.labels, alone)
    torch.testing.assert_close(views.carried_labels[:, 0], alone[:, 0], atol=1e-5, rtol=1e-5)


def carrier() -> FlowSegmenter:
    """A model whose merge believes what was carried over, and nothing else."""
    model = TINY.build()
    with torch.no_grad():
        for k in range(3):
            model.merge.conv.weight[k, 3 + k, 1, 1] = 50.0
    return model


def test_labels_move_with_the_content_and_not_the_other_way() -> None:
    """A square of class 1 moves 2 pixels right and 4 down a frame; flow says where features come from: minus that."""
    labels = torch.zeros(1, 3, 24, 24, dtype=torch.long)
    for t in range(3):
        labels[:, t, 4 + 4 * t : 10 + 4 * t, 4 + 2 * t : 10 + 2 * t] = 1
    alone = torch.zeros(1, 3, 3, 24, 24)  # SegNet knows the first frame only
    alone[:, 0] = 20 * F.one_hot(labels[:, 0], 3).movedim(-1, 1)
    flow = torch.tensor([-1.0, -2.0]).view(1, 1, 2, 1, 1).expand(1, 2, 2, 12, 12)  # maps are half the size
    merged, carried = carrier().carry(alone, flow)
    inside = (slice(None), slice(None), slice(8, None), slice(4, None))  # what came from outside is not known
    assert torch.equal(carried.argmax(2)[inside], labels[inside])
    assert torch.equal(merged.argmax(2)[inside], labels[inside])
    _, opposite = carrier().carry(alone, -flow)
    assert not torch.equal(opposite.argmax(2)[inside], labels[inside])
    assert carried[0, 1, :, :4].sum() < 1e-3, "nothing is known of what enters the frame"


def test_the_flow_of_each_frame_carries_into_that_frame() -> None:
    """Content stands still, then jumps 4 pixels right into frame 3: only the last flow may say so."""
    labels = torch.zeros(1, 3, 16, 16, dtype=torch.long)
    labels[:, :2, 4:8, 4:8] = 1
    labels[:, 2, 4:8, 8:12] = 1
    alone = torch.zeros(1, 3, 3, 16, 16)
    alone[:, 0] = 20 * F.one_hot(labels[:, 0], 3).movedim(-1, 1)
    flow = torch.zeros(1, 2, 2, 8, 8)
    flow[:, 1, 0] = -2.0
    _, carried = carrier().carry(alone, flow)
    assert torch.equal(carried.argmax(2)[..., 4:], labels[..., 4:])


def test_the_flow_that_carries_is_the_one_that_predicts() -> None:
    """Views show the same flow (negated, at full size) that the labels were moved by."""
    model = carrier()
    with torch.no_grad():
        for p in model.autoencoder.parameters():
            p.add_(0.2 * torch.randn_like(p))
    video = Video(torch.rand(1, 3, 3, 16, 16))
    model(video, 0)
    views = model.eval()(video, 0).views
    ys, xs = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    for t in (1, 2):
        dx, dy = views.flow[0, t - 1]
        points = torch.stack([2 * (xs - dx + 0.5) / 16 - 1, 2 * (ys - dy + 0.5) / 16 - 1], -1)
        expected = F.grid_sample(views.labels[:, t - 1], points[None], align_corners=False)
        torch.testing.assert_close(views.carried_labels[:, t], expected, atol=1e-4, rtol=1e-4)
    assert views.flow.abs().max() > 0.1


def test_labels_of_the_last_frame_teach_the_flow_of_all() -> None:
    """Weak supervision: through the recurrent path the last frame's labels reach the first frame's."""
    model = carrier()
    alone = torch.randn(1, 4, 3, 16, 16, requires_grad=True)
    flow = torch.full((1, 3, 2, 8, 8), 0.3, requires_grad=True)
    with torch.no_grad():
        model.merge.conv.weight *= 0.02
    merged, _ = model.carry(alone, flow)
    labels = torch.full((1, 4, 16, 16), -1)
    labels[:, -1] = torch.randint(0, 3, (16, 16))
    label_loss(merged, labels, ()).backward()
    assert alone.grad is not None
    assert flow.grad is not None
    assert alone.grad.flatten(2).any(2).all()
    assert flow.grad.flatten(3).any(3).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SegNet(classes=12), "class_weights: got 11 values for 12 classes, needs one for each"),
        (lambda: SegNet(classes=1), "classes: got 1, needs at least 2"),
        (lambda: SegNet(classes=2, class_weights=(1.0, 0.0)), "class_weights: .* needs values above 0"),
        (lambda: SegNet(kernel=4), "kernel: got 4, needs an odd number"),
        (lambda: SegNet(width=0), "width: got 0, needs at least 1"),
        (lambda: SegNet(remat="some"), "remat"),
        (lambda: SegNetFlow(classes=12), "class_weights: got 11 values for 12 classes"),
        (lambda: SegNetFlow(supervision="last"), "supervision: got 'last', needs 'each'"),
        (lambda: SegNetFlow(label_weight=-1.0), "label_weight: got -1.0, needs at least 0"),
        (lambda: SegNetFlow(width=0), "width: got 0, needs at least 1"),
        (lambda: SegNetFlow(head="z"), "head: got 'z', allowed are"),
    ],
)
def test_configs_refuse_what_cannot_be(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (Video(torch.rand(1, 2, 1, 16, 16)), "frames have 1 channels, the model takes 3"),
        (Video(torch.rand(1, 2, 3, 14, 16)), "frames are 14 x 16 pixels, the model needs 16 x 16 or more"),
        (
            Video(torch.rand(1, 2, 3, 16, 16), labels=torch.full((1, 2, 16, 16), 3)),
            "labels go up to 3, the model has 3 classes",
        ),
    ],
)
def test_videos_that_do_not_fit_are_refused(video: Video, message: str) -> None:
    for config in (SegNet(classes=3, class_weights=(), width=4, kernel=3), TINY):
        with pytest.raises(ValueError, match=message):
            config.build()(video, 0)


def test_weights_of_classes_are_those_of_the_tutorial() -> None:
    assert len(CAMVID_WEIGHTS) == 11
    assert CAMVID_WEIGHTS[3] == min(CAMVID_WEIGHTS)  # road is the most frequent
    assert type(TINY.build().autoencoder) is type(AEConvLSTMFlow().build())
    assert replace(TINY, remat="sqrt").build().autoencoder.config.remat == "sqrt"
