"""Starts, looks and the order by looks, with true parts: what each brings before anything is learned."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from data_shards.sources.sprites import Sprites
from model.interface import Video
from model.object_discovery.looks import (
    FADING,
    KEPT,
    Compared,
    Looks,
    compared,
    first_looks,
    hidden,
    most_of_others,
    nearness,
    recognised,
    seen_again,
    typical,
)
from model.object_discovery.model import Config
from model.object_discovery.ordering import Trust
from model.object_discovery.shared_head import advantage
from model.object_discovery.starts import filled, from_change, from_groups, from_places
from model.ops.sinkhorn import hard_permutation
from model.ops.spatial_transformer import centres_of_mass

SMALL = Config(
    size=32, slots=2, width=8, hidden=8, kernel=3, blocks=1, stem_stride=4, reader_width=8, reader_hidden=16,
    background_width=0, frame_difference=True, tracking=True, mask_bias=-6.0, starts="clip", recognition=True,
    evidence="looks", inertia=True,
)  # fmt: skip


class Scenes:
    """True sprites at 32 pixels as tensors."""

    def __init__(self, objects: int, count: int, **options: str) -> None:
        source = Sprites(size=32, frames=8, objects=objects, **options)  # type: ignore[arg-type]
        clips = [source.clip("val", index, 0) for index in range(count)]
        self.frames = torch.tensor(np.stack([c.frames for c in clips])).movedim(-1, 2).float() / 255
        self.masks = torch.tensor(np.stack([c.amodal_masks for c in clips])).float() / 255
        self.ids = torch.tensor(np.stack([c.visible_ids for c in clips])).long()
        self.ranks = torch.tensor(np.stack([c.depth_ranks for c in clips]))
        if clips[0].colours is not None:
            self.colours = torch.tensor(np.stack([c.colours for c in clips]))


def purity(supports: Float[Tensor, "b k h w"], ids: Tensor, objects: int) -> float:
    """Share of the pixels of objects that lie where their region's object is."""
    regions, right, pixels = supports.argmax(1), 0, 0
    for region, true in zip(regions, ids, strict=True):
        for slot in range(supports.shape[1]):
            held = true[(region == slot) & (true > 0)]
            right += int(torch.bincount(held, minlength=objects + 1).max())
            pixels += len(held)
    return right / pixels


class TestStarts:
    """Groups of a clip against halves of the frame, on the clips that the sheet's trial names."""

    @pytest.mark.parametrize(("objects", "least"), [(2, 0.97), (3, 0.96), (4, 0.93)])
    def test_groups_hold_an_object_each(self, objects: int, least: float) -> None:
        scenes = Scenes(objects, 100)
        groups = from_groups(objects, scenes.frames[:, 0])
        assert purity(groups.supports, scenes.ids[:, 0], objects) > least
        halves = from_places(objects, scenes.frames[:, 0])
        assert purity(halves.supports, scenes.ids[:, 0], objects) < 0.85

    @pytest.mark.parametrize(
        ("options", "least"),
        [
            ({}, 0.98),
            ({"paint": "same"}, 0.93),
            ({"paint": "texture"}, 0.94),
            ({"background": "texture"}, 0.94),
        ],
    )
    def test_what_changes_is_grouped_on_any_background(self, options: dict[str, str], least: float) -> None:
        """In the second frame; groups of what stands out from the first one's median have 0.82 on a texture."""
        scenes = Scenes(2, 60, **options)
        start = from_change(2, scenes.frames[:, 1], scenes.frames[:, 0])
        assert purity(start.supports, scenes.ids[:, 1], 2) > least

    @pytest.mark.parametrize(("objects", "slots"), [(2, 2), (2, 3), (2, 4), (3, 3), (3, 4), (4, 4)])
    def test_slots_beyond_the_objects_look_nowhere(self, objects: int, slots: int) -> None:
        """Edges and halves of an object are no groups of their own, and two objects are two."""
        scenes = Scenes(objects, 100)
        merged, all_used = (from_groups(slots, scenes.frames[:, 0], m) for m in (True, False))
        used = (merged.supports.amax((-1, -2)) > 0).sum(1)
        assert (used == objects).float().mean() > 0.92
        assert merged.looks.pixels[merged.supports.amax((-1, -2)) == 0].sum() == 0
        ids = scenes.ids[:, 0]
        assert purity(merged.supports, ids, objects) >= purity(all_used.supports, ids, objects) - 0.002

    def test_objects_of_one_colour_are_one_only_where_they_touch(self) -> None:
        frame = torch.zeros(2, 3, 16, 16)
        frame[:, 0, 4:12, 1:6] = 1.0
        frame[0, 0, 4:12, 10:15] = 1.0  # apart
        frame[1, 0, 4:12, 6:11] = 1.0
        used = from_groups(2, frame, merging=True).supports.amax((-1, -2)) > 0
        assert used.tolist() == [[True, True], [True, False]]

    def test_holes_are_filled_from_around(self) -> None:
        frame = torch.linspace(0, 1, 16).expand(1, 3, 16, 16).clone()  # a ramp
        known = torch.ones(1, 1, 16, 16)
        known[..., 5:9, 6:10] = 0
        spoiled = torch.where(known > 0, frame, torch.rand(1, 3, 16, 16))
        full = filled(spoiled, known)
        torch.testing.assert_close(full * known, frame * known)
        assert (full - frame).abs().max() < 0.1
        assert filled(spoiled, torch.zeros_like(known)).isfinite().all()

    def test_looks_are_the_colours_of_the_groups(self) -> None:
        scenes = Scenes(2, 20)
        looks = from_groups(2, scenes.frames[:, 0]).looks
        distance = torch.cdist(looks.colours, scenes.colours).amin(2)
        assert distance.median() < 0.05  # of all that stands out: 0.10
        assert (looks.pixels > 10).all()

    def test_supports_are_shares_of_every_pixel(self) -> None:
        supports = from_groups(3, torch.rand(2, 3, 16, 16)).supports
        torch.testing.assert_close(supports.sum(1), torch.ones(2, 16, 16))
        assert supports.min() >= 0

    @pytest.mark.parametrize("slots", [1, 2, 5])
    def test_an_empty_frame_and_any_number_of_slots_are_no_trouble(self, slots: int) -> None:
        start = from_groups(slots, torch.full((2, 3, 16, 16), 0.5))
        assert start.supports.isfinite().all()
        assert start.looks.colours.isfinite().all()
        assert (start.salience == 0).all()

    def test_what_stands_out_is_what_differs_from_most_of_the_frame(self) -> None:
        frame = torch.full((1, 3, 8, 8), 0.2)
        frame[:, 1, 2:4, 2:4] = 0.3  # a tenth in one channel
        frame[:, 0, 6, 6] = 0.9
        start = from_groups(1, frame)
        found = start.salience[0]
        torch.testing.assert_close(start.background, torch.full((1, 3, 8, 8), 0.2))
        assert found[2, 2] == pytest.approx(0.4)
        assert found[6, 6] == 1
        assert found.sum() == pytest.approx(4 * 0.4 + 1)


def looks_of(colours: Float[Tensor, "b k c"]) -> Looks:
    """Of plain slots."""
    return Looks(colours, *torch.ones(2, *colours.shape[:2], 1))


def beside(looks: Looks, frame: Float[Tensor, "b c h w"]) -> Compared:
    """Of slots that nothing is remembered of, before black."""
    batch, slots = looks.pixels.shape[:2]
    expected = frame.new_zeros(batch, slots, *frame.shape[-2:])
    return compared(
        looks, frame, torch.zeros(batch, slots, *frame.shape[1:]), expected, torch.zeros_like(frame)
    )


class TestLooks:
    """Who a pixel looks like, how that is kept, and who is in front."""

    def test_likeness_is_one_for_the_colour_and_nothing_a_quarter_away(self) -> None:
        frame = torch.zeros(1, 3, 1, 3)
        frame[0, 0, 0] = torch.tensor([0.0, 0.125, 0.25])
        found = beside(looks_of(torch.zeros(1, 1, 3)), frame)
        torch.testing.assert_close(found.error[0, 0, 0], frame[0, 0, 0] / 3)
        torch.testing.assert_close(found.like[0, 0, 0], torch.tensor([1.0, 0.5, 0.0]))

    def test_what_is_textured_looks_like_its_memory_where_that_is_expected(self) -> None:
        memory, background = torch.rand(1, 1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
        expected = torch.zeros(1, 1, 8, 8)
        expected[..., :4] = 1
        looks = Looks(torch.full((1, 1, 3), 0.5), torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
        found = compared(looks, memory[:, 0], memory, expected, background)
        assert torch.equal(found.like, expected)
        assert (found.error == 0).all()
        # What it is not expected at and the background does not have may be its own, seen for the first time.
        new = (4 * memory[:, 0].amax(1)).clamp(max=1)
        torch.testing.assert_close(found.untold[:, 0], new * (1 - expected[:, 0]))
        plain = looks._replace(plainness=torch.ones(1, 1, 1))
        assert (beside(plain, memory[:, 0]).untold == 0).all()

    def test_nothing_is_told_of_a_slot_that_was_never_seen(self) -> None:
        """It does not look black, and takes nothing by its look."""
        looks = looks_of(torch.zeros(1, 2, 3))
        looks = looks._replace(pixels=torch.tensor([[[0.0], [5.0]]]))
        found = beside(looks, torch.zeros(1, 3, 4, 4))
        assert (found.like[:, 0] == 0).all()
        assert (found.like[:, 1] == 1).all()
        assert (found.untold[:, 0] == 1).all()
        assert (found.untold[:, 1] == 0).all()

    def test_plainness_is_the_share_of_pixels_of_one_colour(self) -> None:
        frame = torch.full((1, 3, 4, 4), 0.5)
        held = torch.ones(1, 2, 4, 4)
        frame[:, :, 0] = torch.tensor([0.0, 0.0, 1.0, 1.0])  # a quarter of it is not, in the mean it cancels
        looks = first_looks(held, frame)
        torch.testing.assert_close(
            looks.plainness, torch.full((1, 2, 1), 1.0)
        )  # only what is alike counts at first
        after = seen_again(looks, frame, held, held)
        before, now = FADING * 12.0, 16.0
        torch.testing.assert_close(after.plainness, torch.full((1, 2, 1), (before + 12) / (before + now)))

    def test_first_looks_leave_out_what_an_object_has_just_left(self) -> None:
        """Of a group over an object of one colour and more pixels of a textured background, the object's."""
        torch.manual_seed(0)
        frame = torch.rand(1, 3, 16, 16)
        frame[..., 4:10, 4:10] = torch.tensor([0.9, 0.2, 0.4])[:, None, None]
        held = torch.zeros(1, 1, 16, 16)
        held[..., 4:10, 2:14] = 1  # half of it
        looks = first_looks(held, frame)
        assert (looks.colours[0, 0] - torch.tensor([0.9, 0.2, 0.4])).abs().max() < 0.02
        assert looks.plainness > 0.95
        textured = first_looks(held, torch.rand(1, 3, 16, 16))
        assert textured.pixels == held.sum()
        assert textured.plainness < 0.2

    def test_the_typical_colour_is_that_of_the_most_alike(self) -> None:
        frame = torch.zeros(1, 3, 16, 16)
        frame[..., 0:4, :] = 0.5
        frame[..., 4:7, :] = 1.0
        held = (frame > 0).float()[:, :1]
        assert (typical(held, frame) == 0.5).all()
        assert typical(torch.zeros(1, 2, 16, 16), frame).isfinite().all()

    def test_looks_are_the_mean_of_what_was_surely_seen(self) -> None:
        frame = torch.rand(1, 3, 4, 4)
        shown, expected = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        shown[..., :2, :], expected[..., 1:, :] = 1, 1  # row 1 is both
        before = Looks(torch.full((1, 1, 3), 0.5), torch.ones(1, 1, 1), torch.full((1, 1, 1), 10.0))
        after = seen_again(before, frame, shown, expected)
        old = FADING * 10
        torch.testing.assert_close(after.pixels, torch.full((1, 1, 1), old + 4))
        mean = (old * 0.5 + frame[0, :, 1].sum(-1)) / (old + 4)
        torch.testing.assert_close(after.colours[0, 0], mean)

    def test_what_is_not_seen_keeps_its_look(self) -> None:
        before = looks_of(torch.rand(1, 2, 3))
        nothing = torch.zeros(1, 2, 4, 4)
        after = seen_again(before, torch.rand(1, 3, 4, 4), nothing, nothing)
        torch.testing.assert_close(after.colours, before.colours)

    @pytest.mark.parametrize(("objects", "least"), [(2, 0.999), (3, 0.98), (4, 0.96)])
    def test_with_true_masks_the_order_is_right(self, objects: int, least: float) -> None:
        """Of pairs that overlap by 5 pixels; what each part of the rule brings is in the function's docstring."""
        scenes = Scenes(objects, 60)
        looks = looks_of(scenes.colours)
        evidence, trust = torch.zeros(60, objects, objects), Trust()
        right = pairs = 0
        for t in range(8):
            error = beside(looks, scenes.frames[:, t]).error
            evidence = nearness(evidence, error, scenes.masks[:, t])
            place = hard_permutation(trust(evidence)).argmax(2)
            for j in range(objects):
                for k in range(j):
                    met = (scenes.masks[:, t, j] * scenes.masks[:, t, k]).sum((-1, -2)) > 5
                    nearer = scenes.ranks[:, j] < scenes.ranks[:, k]
                    right += int(((place[:, j] < place[:, k]) == nearer)[met].sum())
                    pairs += int(met.sum())
        assert pairs > 50
        assert right / pairs > least

    def test_evidence_fades_where_nothing_overlaps(self) -> None:
        evidence = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]])
        apart = torch.eye(2).view(1, 2, 1, 2)
        torch.testing.assert_close(nearness(evidence, torch.rand(1, 2, 1, 2), apart), KEPT * evidence)

    @pytest.mark.parametrize("slots", [3, 7])
    def test_trust_puts_the_nearest_first(self, slots: int) -> None:
        strength = torch.randperm(slots).float()
        evidence = 0.1 * (strength[:, None] - strength)[None]
        order = hard_permutation(Trust()(evidence))
        torch.testing.assert_close(order[0].argmax(1), (slots - 1 - strength).long())

    def test_without_evidence_every_order_is_as_good(self) -> None:
        logits = Trust()(torch.zeros(1, 3, 3))
        torch.testing.assert_close(logits.exp(), torch.full((1, 3, 3), 1 / 3))
        assert (Trust()(torch.ones(1, 1, 1)) == 0).all()

    def test_orders_agree_with_what_is_sure_before_what_is_not(self) -> None:
        """A cycle is broken at its weakest link."""
        evidence = torch.tensor([[0.0, 0.4, -0.1], [-0.4, 0.0, 0.4], [0.1, -0.4, 0.0]])[None]
        assert hard_permutation(Trust()(evidence))[0].argmax(1).tolist() == [0, 1, 2]

    def test_a_slot_is_hidden_where_another_is_seen_unless_it_is_in_front(self) -> None:
        expected = torch.tensor([1.0, 1.0]).view(1, 2, 1, 1)
        like = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)  # slot 0 is seen
        for sure, share in ((0.0, 1.0), (0.2, 1.0), (-0.2, 0.0)):  # that 0 is in front of 1
            evidence = torch.tensor([[[0.0, sure], [-sure, 0.0]]])
            found = hidden(evidence, like, expected)[0, :, 0, 0].tolist()
            assert found == pytest.approx([0.0, share], abs=0.01)

    def test_where_two_look_alike_looks_do_not_tell(self) -> None:
        colours = torch.tensor([[[0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [1.0, 0.0, 0.0]]])
        found = beside(looks_of(colours), torch.full((1, 3, 1, 1), 0.5))
        told = recognised(found, torch.zeros(1, 3, 3), torch.ones(1, 3, 1, 1))
        assert told.untold[0, :, 0, 0].tolist() == [1, 1, 0]


class TestSharedHead:
    """All that tells slots apart is what is expected of each."""

    def test_the_most_of_others(self) -> None:
        x = torch.rand(2, 4, 3, 3)
        brute = torch.stack([torch.cat([x[:, :k], x[:, k + 1 :]], 1).amax(1) for k in range(4)], 1)
        assert torch.equal(most_of_others(x), brute)
        assert torch.equal(most_of_others(torch.ones(1, 2, 1, 1)), torch.ones(1, 2, 1, 1))
        assert torch.equal(most_of_others(x[:, :1]), torch.zeros(2, 1, 3, 3))

    def test_advantage(self) -> None:
        expected = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
        assert advantage(expected)[0, :, 0, 0].tolist() == pytest.approx([0.98, -0.98], abs=0.01)
        assert (advantage(torch.zeros(1, 3, 2, 2)).abs() < 1e-6).all()

    def test_slots_that_start_elsewhere_are_the_same_slots_elsewhere(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Permuting the starts permutes everything, and keeps the prediction."""
        scenes = Scenes(3, 2)
        model = replace(SMALL, slots=3).build().eval()
        before = model(Video(scenes.frames), 5)

        def permuted(slots: int, frame: Tensor, merging: bool) -> object:
            start = from_groups(slots, frame, merging)
            looks = Looks(*(part[:, [2, 0, 1]] for part in start.looks))
            return start._replace(supports=start.supports[:, [2, 0, 1]], looks=looks)

        monkeypatch.setattr("model.object_discovery.model.from_groups", permuted)
        after = model(Video(scenes.frames), 5)
        torch.testing.assert_close(after.views.amodal_masks, before.views.amodal_masks[:, :, [2, 0, 1]])
        torch.testing.assert_close(after.views.motion, before.views.motion[:, :, [2, 0, 1]])

    def test_weights_serve_any_number_of_slots(self) -> None:
        two, four = SMALL.build(), replace(SMALL, slots=4).build()
        four.load_state_dict(two.state_dict())
        assert four(Video(Scenes(4, 2).frames), 5).loss.isfinite()


class TestUntrained:
    """What the parts bring together before a step: objects of a colour each are grouped, and followed."""

    def test_each_slot_holds_an_object(self) -> None:
        torch.manual_seed(0)
        scenes = Scenes(2, 24)
        masks = SMALL.build().eval()(Video(scenes.frames), 0).views.visible_masks
        assert masks is not None
        assert purity(masks[:, 3], scenes.ids[:, 3], 2) > 0.85

    def test_a_slot_without_an_object_stays_empty(self) -> None:
        torch.manual_seed(0)
        scenes = Scenes(2, 24)
        model = replace(SMALL, slots=4, merging=True).build().eval()
        masks = model(Video(scenes.frames), 0).views.amodal_masks
        assert masks is not None
        areas = (masks > 0.5).float().mean((1, -1, -2)).sort(1).values
        assert areas[:, :2].mean() < 0.01
        assert areas[:, 2:].mean() > 0.04

    def test_a_slot_moves_on_as_it_moved(self) -> None:
        """Inertia: untrained, an object's next place is told by its last two."""
        frames = torch.zeros(1, 5, 3, 32, 32)
        for t in range(5):
            frames[0, t, :, 12:20, 4 + 3 * t : 12 + 3 * t] = torch.tensor([0.9, 0.3, 0.1])[:, None, None]
        motion = {}
        for inertia in (False, True):
            views = replace(SMALL, slots=1, inertia=inertia).build().eval()(Video(frames), 10**6).views
            assert views.motion is not None
            assert views.amodal_masks is not None
            motion[inertia] = views.motion[0, 2, 0, 0, 2] * 16
            moved = torch.diff(centres_of_mass(views.amodal_masks[0, 1:3, 0].square()), dim=0)[0, 0] * 16
        assert motion[False] == 0
        assert motion[True] == pytest.approx(float(moved), abs=0.2)
        assert motion[True] > 2


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"starts": "left"}, "starts: got 'left', allowed are frame, clip, change"),
        ({"evidence": "stars"}, "evidence: got 'stars', allowed are network, looks"),
        ({"tracking": False}, "needs tracking True"),
        ({"tracking": False, "starts": "frame"}, "recognition: got True, needs tracking True"),
        ({"starts": "frame", "merging": True}, "merging: got True, needs starts clip or change"),
    ],
)
def test_what_does_not_go_together_is_named(wrong: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        replace(SMALL, **wrong)  # type: ignore[arg-type]


def test_a_start_at_what_changes_predicts_nothing_from_what_it_has_not_seen() -> None:
    """Masks of the first frame look at the second; the prediction of that one is the first, and each sees no later."""
    torch.manual_seed(0)
    model = replace(SMALL, slots=2, starts="change", matching=3).build().eval()
    frames = torch.rand(2, 5, 3, 32, 32)
    whole = model(Video(frames), 0).views
    assert whole.prediction is not None
    assert torch.equal(whole.prediction[:, 0], frames[:, 0])
    for seen in range(2, 5):
        changed = torch.cat([frames[:, :seen], torch.rand(2, 5 - seen, 3, 32, 32)], 1)
        views = model(Video(changed), 0).views
        assert views.prediction is not None
        torch.testing.assert_close(views.prediction[:, :seen], whole.prediction[:, :seen])
    assert torch.equal(model.predict(Video(frames[:, :1]), 1), frames[:, :1])


def test_slots_that_start_at_what_changes_hold_it_from_the_first_frame_on() -> None:
    """On a texture, where nothing in a single frame tells what will move."""
    scenes = Scenes(2, 20, background="texture")
    torch.manual_seed(0)
    model = replace(SMALL, starts="change").build().eval()
    masks = model(Video(scenes.frames), 0).views.amodal_masks
    assert masks is not None
    for t in (0, 1):
        held = (masks[:, t] > 0.5).any(1)
        objects = scenes.ids[:, t] > 0
        assert (held & objects).sum() / objects.sum() > 0.7
        assert (held & objects).sum() / held.sum() > 0.7
