"""Linking: against all permutations, what moves along, what is said of it, and whose slots are linked."""

from dataclasses import replace
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import MODELS
from model.interface import ModelOutput, Refinements, Video, Views
from tests.trainer.known import Halves, sprites
from tests.trainer.squares import squares
from trainer.evaluation.linking import linked
from trainer.evaluation.references import oracle
from trainer.evaluation.result import LINKED
from trainer.evaluation.scoring import evaluate
from trainer.evaluation.views import views_of
from trainer.scores import SCORES

CPU = torch.device("cpu")


class Shuffled(Halves):
    """Sees each frame by itself: in every other one the halves of the frame have changed places."""

    independent = True

    def forward(self, video: Video, step: int) -> ModelOutput:
        masks = super().forward(video, step).views.visible_masks.clone()
        masks[:, ::2] = masks[:, ::2].flip(2)
        return ModelOutput(torch.zeros(()), {}, lambda: Views(visible_masks=masks))


class Unlinked(Shuffled):
    independent = False


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.booleans())
def test_no_permutation_of_slots_overlaps_more(seed: int, slots: int, hard: bool) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((2, 4, slots, 3, 5))
    masks = (masks > 0.6).astype(float) if hard else masks / masks.sum(2, keepdims=True)
    found = linked(Views(visible_masks=torch.from_numpy(masks))).visible_masks.numpy()
    assert (found[:, 0] == masks[:, 0]).all()
    for clip, original in zip(found, masks, strict=True):
        for t, (before, now) in enumerate(pairwise(clip), 1):
            every = [original[t][list(order)] for order in permutations(range(slots))]
            assert any((now == other).all() for other in every)
            assert total(before, now) == pytest.approx(max(total(before, other) for other in every))


def test_all_of_a_slot_moves_along() -> None:
    """Slots that were shuffled, frame by frame, are as they were before; what has no slots stays."""
    video = squares()
    whole = oracle(video)
    masks = whole.visible_masks
    whole = replace(
        whole,
        boxes=torch.rand(*masks.shape[:3], 4),
        presence=torch.rand(masks.shape[:3]),
        refinements=Refinements(
            torch.stack([masks / 2, masks], 2), video.frames[:, :-1, None].expand(-1, -1, 2, -1, -1, -1)
        ),
    )
    order = torch.tensor([[[0, 1], [1, 0], [1, 0], [0, 1]]])

    def shuffled(x: torch.Tensor, axis: int = 2) -> torch.Tensor:
        parts = [
            torch.stack([x[b, t].index_select(axis - 2, order[b, t]) for t in range(x.shape[1])])
            for b in range(len(x))
        ]
        return torch.stack(parts)

    names = ("amodal_masks", "visible_masks", "slot_frames", "depth_order", "motion", "boxes", "presence")
    slotwise: dict[str, Any] = {name: shuffled(getattr(whole, name)) for name in names}
    mixed = replace(
        whole,
        **slotwise,
        refinements=replace(whole.refinements, masks=shuffled(whole.refinements.masks, axis=3)),
    )
    score = SCORES["fg_ari_video"].measure
    assert score(mixed, video).max() < score(whole, video).min()
    for name, value in linked(mixed).tensors().items():
        assert torch.equal(value, whole.tensors()[name]), name


def test_objects_keep_their_number_while_their_masks_overlap() -> None:
    """Two objects change slots; one leaves, comes back elsewhere, and has a new number."""
    masks, held = torch.zeros(1, 5, 3, 1, 12), torch.zeros(1, 5, 3, dtype=torch.long)
    places = [{0: 0, 1: 6}, {1: 1, 0: 7}, {2: 2}, {2: 3, 0: 9}, {0: 3, 1: 9}]  # slot: leftmost of four pixels
    for t, slots in enumerate(places):
        for number, (slot, x) in enumerate(slots.items(), 1):
            masks[0, t, slot, 0, x : x + 4] = 1
            held[0, t, slot] = 10 * t + number  # each frame discovers anew
    views = linked(Views(amodal_masks=masks, identities=held))
    by_place = [
        {int(mask.argmax()): int(number) for mask, number in zip(*frame, strict=True) if number}
        for frame in zip(views.amodal_masks[0, :, :, 0], views.identities[0], strict=True)
    ]
    assert by_place == [{0: 1, 6: 2}, {1: 1, 7: 2}, {2: 1}, {3: 1, 9: 3}, {3: 1, 9: 3}]
    assert SCORES["discovered_later"].measure(views, Video(torch.zeros(1, 5, 1, 1, 12)))[0, 1:].tolist() == [
        0, 0, 1, 0,
    ]  # fmt: skip


def test_views_without_masks_are_as_they_were() -> None:
    views = Views(prediction=torch.rand(1, 2, 3, 4, 4))
    assert linked(views) is views


def test_a_model_of_single_frames_is_linked_when_scored_and_that_is_said() -> None:
    video = sprites(2, objects=2)
    ours, bare, steady = (evaluate(model(), [video], 0, CPU) for model in (Shuffled, Unlinked, Halves))
    for name in ("fg_ari_frame", "fg_ari_video"):
        assert ours.mean("model", name) == steady.mean("model", name)
    assert bare.mean("model", "fg_ari_video") < ours.mean("model", "fg_ari_video")
    assert f"model: {LINKED}" in ours.text()
    assert (ours.linked, bare.linked, steady.linked) == (True, False, False)
    assert LINKED not in steady.text()
    assert type(ours).from_json(ours.to_json()) == ours


def test_a_diverged_model_of_single_frames_is_told_as_any_other() -> None:
    class Diverged(Shuffled):
        def forward(self, video: Video, step: int) -> ModelOutput:
            views = super().forward(video, step).views.map(lambda x: x * torch.nan)
            return ModelOutput(torch.zeros(()), {}, lambda: views)

    with pytest.raises(FloatingPointError, match=r"views.visible_masks of the model is not finite"):
        evaluate(Diverged(), [sprites(2)], 0, CPU)


@pytest.mark.parametrize("name", MODELS)
def test_models_say_of_themselves_what_their_config_says(name: str) -> None:
    config = MODELS[name].small()
    model = config.build().eval()
    assert model.independent == config.independent
    if not config.independent:
        return
    video = Video(torch.rand(2, 3, 3, 16, 16))
    with torch.no_grad():
        bare = model(video, 0).views
    for key, value in views_of(model, video, 0).tensors().items():
        assert torch.equal(value, linked(bare).tensors()[key])


def total(a: np.ndarray, b: np.ndarray) -> float:
    """The sum over slots of the overlap of slot k of one frame with slot k of the other."""
    both, either = np.minimum(a, b).sum((1, 2)), np.maximum(a, b).sum((1, 2))
    return float(np.divide(both, either, out=np.zeros_like(both), where=either > 0).sum())
