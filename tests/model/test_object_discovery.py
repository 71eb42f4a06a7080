"""The object-discovery model against the paper's text: start, symmetry, memory, losses, the cycle."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from model.interface import Video
from model.object_discovery.losses import (
    absolute_error,
    change_weights,
    compactness,
    consistency,
    pair_of_frames,
    sparsity,
)
from model.object_discovery.masks import binarise
from model.object_discovery.memory import BackgroundNet, seen_by_slots, update_colours
from model.object_discovery.model import Config, ObjectDiscovery
from model.object_discovery.motion import MotionNet
from model.object_discovery.slots import Slots
from model.object_discovery.starts import places
from model.ops.composition import compose_layers, to_identities, to_ranks, visible
from model.ops.spatial_transformer import centres_of_mass, inverse, near_identity, translation, warp
from model.schedule import Ramp

SMALL = Config(
    size=16, slots=3, width=4, hidden=4, kernel=3, blocks=1, stem_stride=2, reader_width=4, reader_hidden=8,
    background_width=4,
)  # fmt: skip


def disc(radius: float, x: float = 32.0, y: float = 32.0, size: int = 64) -> Tensor:
    """Hard disc; pixel centres at integer + 0.5."""
    at = torch.arange(size) + 0.5
    return ((at[None, :] - x).square() + (at[:, None] - y).square() <= radius**2).float()


def clip(frames: int = 6, channels: int = 3) -> Video:
    return Video(torch.rand(2, frames, channels, 16, 16))


def awake(config: Config = SMALL) -> ObjectDiscovery:
    """A model whose layers that start at zero have been moved."""
    model = config.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


class TestStart:
    """Before training: nothing moves."""

    @pytest.mark.parametrize("kind", ["translation", "affine", "projective"])
    def test_motion_is_exactly_the_identity(self, kind: str) -> None:
        views = replace(SMALL, motion=kind).build()(clip(), 0).views
        assert views.motion is not None
        assert torch.equal(views.motion, torch.eye(3).expand_as(views.motion))

    @pytest.mark.parametrize("memory", ["own", "unoccluded"])
    def test_the_prediction_is_the_last_frame_where_masks_are_hard(self, memory: str) -> None:
        """Check 4 of the sheet: with z = I and hard masks, f-hat_2 = f_1; here on any background."""
        config = replace(SMALL, alpha=Ramp(1e4, 1e4), memory=memory)
        model, video = config.build().eval(), clip()
        with torch.no_grad():
            assert isinstance(model.masks.head, nn.Conv2d)
            model.masks.head.weight.mul_(1e4)  # masks at 0 or 1
        views = model(video, 0).views
        assert views.prediction is not None
        torch.testing.assert_close(views.prediction[:, 0], video.frames[:, 0], atol=1e-4, rtol=0)


class TestSlots:
    """Slots are interchangeable but for the channel of the head."""

    def test_permuting_the_head_permutes_the_slots_and_keeps_the_prediction(self) -> None:
        model, video, order = awake().eval(), clip(), [2, 0, 1]
        before = model(video, 5)
        assert isinstance(model.masks.head, nn.Conv2d)
        with torch.no_grad():
            for tensor in (model.masks.head.weight, model.masks.head.bias):
                assert tensor is not None
                tensor.copy_(tensor[order].clone())
        after = model(video, 5)
        assert before.views.prediction is not None
        torch.testing.assert_close(after.views.prediction, before.views.prediction, atol=1e-5, rtol=0)
        torch.testing.assert_close(after.loss, before.loss)
        for field in ("amodal_masks", "visible_masks", "slot_frames", "depth_order", "motion"):
            permuted = getattr(before.views, field)[:, :, order]
            torch.testing.assert_close(getattr(after.views, field), permuted, atol=1e-5, rtol=0)

    def test_training_orders_are_doubly_stochastic_and_eval_orders_are_permutations(self) -> None:
        model, video = awake(), clip()
        soft = model(video, 0).views.depth_order
        hard = model.eval()(video, 0).views.depth_order
        assert soft is not None
        assert hard is not None
        torch.testing.assert_close(soft.sum(-2), torch.ones(2, 5, 3))
        assert soft.amax() < 0.999
        assert ((hard == 0) | (hard == 1)).all()
        assert torch.equal(hard.sum(-1), torch.ones(2, 5, 3))
        assert torch.equal(hard.sum(-2), torch.ones(2, 5, 3))

    def test_without_evidence_orders_are_drawn_in_training_and_by_number_in_eval(self) -> None:
        model, video = replace(SMALL, evidence="none").build(), clip()
        drawn = model(video, 0).views.depth_order
        assert drawn is not None
        assert (drawn[0] - drawn[1]).abs().max() > 0.1
        order = model.eval()(video, 0).views.depth_order
        assert order is not None
        assert torch.equal(order, torch.eye(3).expand_as(order))
        assert not [name for name, _ in model.named_parameters() if name.startswith("order")]

    def test_places_tell_slots_apart_and_tracking_starts_there(self) -> None:
        where = places(3, torch.zeros(2, 3, 16, 16))
        centres = centres_of_mass(where[0])
        assert torch.cdist(centres, centres)[~torch.eye(3, dtype=torch.bool)].min() > 0.3
        model = replace(SMALL, frame_difference=True, tracking=True, mask_bias=-1.0).build().eval()
        masks = model(Video(torch.zeros(1, 3, 3, 16, 16)), 0).views.amodal_masks
        assert masks is not None
        found = centres_of_mass(masks[0, 0])
        assert (found * centres).sum(-1).min() > 0  # each on its own side

    @pytest.mark.parametrize("slots", [1, 4])
    def test_tracking_does_with_any_number_of_slots(self, slots: int) -> None:
        config = replace(SMALL, slots=slots, frame_difference=True, tracking=True)
        assert awake(config)(clip(), 0).loss.isfinite()

    def test_tracking_starts_out_with_what_moves_a_slot_each(self) -> None:
        """Untrained: two squares that approach each other are held apart, from the second frame on."""
        frames = torch.zeros(1, 5, 3, 32, 32)
        for t in range(5):
            frames[0, t, 0, 5 + t : 11 + t, 4 + t : 10 + t] = 0.9
            frames[0, t, 1, 22 - t : 28 - t, 21 - t : 27 - t] = 0.7
        config = replace(SMALL, size=32, slots=2, frame_difference=True, tracking=True, mask_bias=-5.0)
        masks = config.build().eval()(Video(frames), 10**6).views.amodal_masks
        assert masks is not None
        for t in range(1, 4):
            upper, lower = frames[0, t, 0] > 0, frames[0, t, 1] > 0
            held = torch.tensor(
                [[masks[0, t, k][square].mean() for square in (lower, upper)] for k in range(2)]
            )
            assert held.diagonal().min() > 0.8
            assert held.fliplr().diagonal().max() < 0.2

    def test_grey_frames_and_one_slot_will_do(self) -> None:
        model = replace(SMALL, channels=1, slots=1).build()
        out = model(clip(channels=1), 0)
        assert out.loss.isfinite()
        assert model.predict(clip(channels=1), 2).shape == (2, 2, 1, 16, 16)

    def test_two_frames_are_enough_to_predict_and_have_no_cycle(self) -> None:
        out = awake()(clip(frames=2), 0)
        assert out.terms["consistency"] == 0
        out.loss.backward()


class TestBinarise:
    def test_large_masks_become_one_and_small_ones_zero(self) -> None:
        """The sign that eq. 3 should have."""
        soft = binarise(torch.tensor([0.0, 0.5, 1.0]), 20.0, 0.5)
        torch.testing.assert_close(soft, torch.tensor([4.54e-5, 0.5, 1 - 4.54e-5]), atol=1e-6, rtol=0)


class TestMemory:
    def test_an_object_hidden_for_three_frames_comes_back_in_its_colour(self) -> None:
        """A blue square passes behind a red wall; nothing but F4, the warp and gamma."""
        size, steps = 32, 12
        motion = torch.stack([translation(torch.tensor([4.0, 0.0]) / 32 * 2), torch.eye(3)])[None]
        colours = torch.tensor([[0.0, 0, 1], [1, 0, 0]])[:, :, None, None].expand(2, 3, size, size)
        order = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])  # the wall (slot 1) is nearest
        wall = torch.zeros(size, size)
        wall[:, 14:26] = 1
        registered, hidden = torch.zeros(1, 2, 3, size, size), 0
        for t in range(steps - 5):
            square = torch.zeros(size, size)
            square[10:14, 2 + 4 * t : 6 + 4 * t] = 1
            supports = torch.stack([square, wall])[None]
            shown = to_identities(order, visible(to_ranks(order, supports)))
            frame = compose_layers(shown, colours[None], torch.zeros(1, 3, size, size))
            memory = update_colours(frame, seen_by_slots(shown, "own"), registered)
            inside = memory[0, 0][:, square > 0]
            torch.testing.assert_close(inside, colours[0][:, square > 0], atol=1e-4, rtol=0)
            hidden += int(shown[0, 0].sum() == 0)
            registered = warp(memory, inverse(motion))
        assert hidden >= 2

    def test_scopes_differ_outside_the_slots_own_mask_only(self) -> None:
        shown = torch.tensor([[0.9, 0.05, 0.0], [0.05, 0.9, 0.0]])[None, :, None]
        assert seen_by_slots(shown, "own")[0, :, 0].tolist() == [[True, False, False], [False, True, False]]
        assert seen_by_slots(shown, "unoccluded")[0, :, 0].tolist() == [
            [True, False, True],
            [False, True, True],
        ]

    def test_without_a_memory_a_slot_is_what_is_in_front_of_it(self) -> None:
        frame, before = torch.rand(1, 3, 1, 3), torch.zeros(1, 2, 3, 1, 3)
        seen = seen_by_slots(torch.tensor([[0.9, 0.05, 0.0], [0.05, 0.9, 0.0]])[None, :, None], "all")
        assert torch.equal(update_colours(frame, seen, before), frame[:, None].expand_as(before))

    def test_the_background_network_works_in_holes_only(self) -> None:
        net = BackgroundNet(SMALL)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.normal_()
        frame, memory, shown = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.zeros(2, 2, 8, 8)
        shown[:, 1, :, 4:] = 1
        updated = net(frame, shown, memory)
        assert torch.equal(updated[..., :4], frame[..., :4])
        assert not torch.equal(updated[..., 4:], memory[..., 4:])
        assert 0 <= updated.min() <= updated.max() <= 1

    def test_an_untrained_background_network_remembers(self) -> None:
        frame, memory = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
        assert torch.equal(BackgroundNet(SMALL)(frame, torch.ones(2, 1, 8, 8), memory), memory)

    def test_colour_channels_share_their_kernels(self) -> None:
        net = BackgroundNet(SMALL)
        torch.nn.init.normal_(net.last.weight)
        frame, memory, shown = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.rand(2, 1, 8, 8)
        flipped = net(frame.flip(1), shown, memory.flip(1))
        torch.testing.assert_close(flipped, net(frame, shown, memory).flip(1))


class TestMotion:
    @pytest.mark.parametrize(
        ("kind", "largest"), [("translation", 0.5), ("affine", 0.1), ("projective", 0.1)]
    )
    def test_motion_stays_within_its_bounds(self, kind: str, largest: float) -> None:
        net = MotionNet(replace(SMALL, motion=kind, shift_bound=0.5, shape_bound=0.1))
        torch.nn.init.normal_(net.last.weight, std=100.0)
        net.requires_grad_(False)
        z = net(
            torch.rand(4, 3, 16, 16),
            torch.rand(4, 2, 16, 16),
            torch.rand(4, 2, 16, 16),
            torch.eye(3).repeat(4, 2, 1, 1),
        )
        residual = (z - torch.eye(3)).abs()
        assert residual[..., :2, 2].max() == pytest.approx(0.5, abs=1e-3)
        if kind != "translation":
            assert residual[..., :2, :2].max() == pytest.approx(largest, abs=1e-3)

    def test_centres_of_mass(self) -> None:
        centre = centres_of_mass(torch.stack([disc(8, 40, 20), torch.zeros(64, 64)]))
        expected = torch.tensor([[40 / 32 - 1, 20 / 32 - 1], [0.0, 0.0]])
        torch.testing.assert_close(centre, expected, atol=0.01, rtol=0)


class TestLosses:
    def test_compactness_of_known_shapes(self) -> None:
        """Disc of radius r: r^2 / 2 in pixels squared; a uniform mask 2/3."""
        torch.testing.assert_close(
            compactness(disc(8)[None, None, None]), torch.tensor(0.031), atol=2e-3, rtol=0
        )
        torch.testing.assert_close(
            compactness(disc(10)[None, None, None]), torch.tensor(0.049), atol=2e-3, rtol=0
        )
        assert compactness(torch.ones(1, 1, 1, 64, 64)) == pytest.approx(2 / 3, abs=2e-3)
        two = disc(8, 12, 32) + disc(8, 52, 32)
        assert compactness(two[None, None, None]) == pytest.approx(0.031 + (20 / 32) ** 2, abs=0.01)

    def test_an_empty_mask_is_not_pushed(self) -> None:
        logits = torch.full((1, 1, 1, 64, 64), -20.0, requires_grad=True)
        loss = compactness(torch.sigmoid(logits))
        loss.backward()
        assert logits.grad is not None
        assert loss < 1e-4
        assert logits.grad.abs().max() < 1e-6

    def test_sparsity_is_the_mean(self) -> None:
        masks = torch.rand(2, 3, 4, 8, 8)
        assert sparsity(masks) == pytest.approx(float(masks.abs().sum() / masks.numel()))

    def test_weights_of_change_have_mean_one_and_the_asked_ratio(self) -> None:
        before = torch.zeros(1, 2, 3, 8, 8)
        after = before.clone()
        after[:, 0, 1, :2] = 0.5
        weights = change_weights(before, after, 5.0)
        torch.testing.assert_close(weights.mean((-1, -2, -3)), torch.ones(1, 2))
        assert weights[0, 0, 0, 0, 0] / weights[0, 0, 0, 7, 7] == pytest.approx(5.0)
        assert torch.equal(weights[0, 1], torch.ones(1, 8, 8))
        assert torch.equal(change_weights(before, after, 1.0), torch.ones(1, 2, 1, 8, 8))

    def test_the_error_is_the_mean_absolute_error(self) -> None:
        a, b = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
        assert absolute_error(a, b, torch.ones(2, 1, 4, 4)) == pytest.approx(
            float(torch.nn.functional.l1_loss(a, b))
        )

    def test_the_loss_is_the_weighted_sum_of_its_terms(self) -> None:
        config = replace(
            SMALL,
            reconstruction=0.7,
            consistency=0.3,
            sparsity=Ramp(0.0, 2.0, 10),
            compactness=Ramp(4.0, 0.0, 10),
        )
        out = awake(config)(clip(), 5)
        weights = {"reconstruction": 0.7, "consistency": 0.3, "sparsity": 1.0, "compactness": 2.0}
        assert out.loss.item() == pytest.approx(
            sum(w * float(out.terms[name]) for name, w in weights.items())
        )


class TestCycle:
    def test_the_pair_is_drawn_from_the_two_halves(self) -> None:
        """T = 11: t1 in 1..5 and t2 in 6..10."""
        pairs = {pair_of_frames(10, draw=True) for _ in range(400)}
        assert pairs == {(a, b) for a in range(5) for b in range(5, 10)}
        assert pair_of_frames(10, draw=False) == (2, 7)
        assert pair_of_frames(1, draw=True) is None
        assert pair_of_frames(2, draw=True) == (0, 1)

    def spinning(self, angle: float = 20.0, steps: int = 4) -> tuple[Slots, Tensor]:
        """An off-centre bar that turns about the image centre and drifts: forward motions do not commute."""
        x, y = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="xy")
        bar = torch.exp(-((((x - 40) / 9) ** 2 + ((y - 30) / 4) ** 2) ** 2))
        turn = torch.deg2rad(torch.tensor(angle))
        motions = []
        for t in range(steps):
            a, s = turn * (1 + 0.3 * t), 0.04 * (t - 1)
            z = torch.tensor([[a.cos(), -a.sin(), s], [a.sin(), a.cos(), -2 * s], [0, 0, 1]])
            motions.append(z)
        masks, total = [], torch.eye(3)
        for z in motions:
            masks.append(warp(bar[None, None], inverse(total[None]))[0, 0])
            total = z @ total
        supports = torch.stack(masks)[None, :, None]
        ones = torch.ones(1, steps, 1, 1)
        slots = Slots(
            masks=supports,
            supports=supports,
            visible=supports,
            order=ones,
            motion=torch.stack(motions)[None, :, None],
            colours=torch.ones(1, steps, 1, 3, 64, 64),
            background=torch.zeros(1, steps, 3, 64, 64),
        )
        return slots, supports.expand(-1, -1, 3, -1, -1)

    def test_rotations_compose_in_the_order_of_eq_21(self) -> None:
        slots, frames = self.spinning()
        right = consistency(slots, frames, (0, 3), 1.0)
        reversed_in_time = slots._replace(motion=slots.motion[:, [2, 1, 0, 3]])
        wrong = consistency(reversed_in_time, frames, (0, 3), 1.0)
        inverted = slots._replace(motion=torch.linalg.inv(slots.motion))
        assert right < 0.006
        assert wrong > 3 * right
        assert consistency(inverted, frames, (0, 3), 1.0) > 3 * right

    def test_gradients_reach_masks_motions_and_orders_of_the_path(self) -> None:
        slots = Slots(
            masks=torch.rand(1, 6, 2, 16, 16),
            supports=torch.rand(1, 6, 2, 16, 16, requires_grad=True),
            visible=torch.rand(1, 6, 2, 16, 16),
            order=torch.rand(1, 6, 2, 2).softmax(-2).requires_grad_(),
            motion=near_identity(0.05 * torch.randn(1, 6, 2, 6)).requires_grad_(),
            colours=torch.rand(1, 6, 2, 3, 16, 16, requires_grad=True),
            background=torch.rand(1, 6, 3, 16, 16, requires_grad=True),
        )
        consistency(slots, torch.rand(1, 7, 3, 16, 16), (1, 4), 1.0).backward()

        def touched(tensor: Tensor) -> list[int]:
            assert tensor.grad is not None
            return [t for t in range(6) if tensor.grad[:, t].any()]

        assert touched(slots.supports) == [1, 4]
        assert touched(slots.colours) == [1, 4]
        assert touched(slots.background) == [1, 4]
        assert touched(slots.motion) == [1, 2, 3]
        assert touched(slots.order) == [2, 3]  # P_{t1+1} back, P_{t2-1} there


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 5), ("size", 17), ("size", 22), ("channels", 0), ("slots", 0), ("width", 6), ("kernel", 4),
        ("stem_stride", 3), ("beta", 1.0), ("motion", "rigid"), ("memory", "both"), ("shift_bound", 0.0),
        ("shape_bound", 3.0),
        ("alpha", Ramp(0.0, 1.0)), ("temperature", Ramp(1.0, 0.0)), ("tracking", True), ("sparsity", Ramp(0.0, -1.0)),
        ("compactness", Ramp(-1.0, 0.0)), ("change_weight", 0.5), ("noise", -1.0), ("remat", "all"),
        ("sinkhorn_iterations", 0), ("reconstruction", -1.0), ("consistency", -1.0),
    ],
)  # fmt: skip
def test_bad_fields_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(Config(), **{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2, 5, 3, 16, 24), (2, 5, 1, 16, 16), (2, 1, 3, 16, 16)])
def test_other_frames_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="3x16x16"):
        SMALL.build()(Video(torch.rand(shape)), 0)


def test_a_roll_out_needs_a_horizon() -> None:
    with pytest.raises(ValueError, match="horizon"):
        SMALL.build().predict(clip(), 0)
