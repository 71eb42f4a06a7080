"""Groupings without a model: against other packages, by hand, and what of the truth they are told."""

from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from model.interface import Truth, Video, Views
from tests.trainer.known import sprites
from tests.trainer.squares import squares
from trainer.evaluation.groupings import (
    MOST,
    components,
    far_apart,
    followed_components,
    groupings,
    k_means,
    lloyd,
    stripes,
)
from trainer.scores import SCORES

FRAMES = arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)))


def of_ids(ids: torch.Tensor, frames: torch.Tensor | None = None) -> Video:
    """Clips with ids of pixels and no other truth."""
    return Video(torch.rand(*ids.shape[:2], 3, *ids.shape[2:]) if frames is None else frames, Truth(ids))


def ids_of(views: Views) -> torch.Tensor:
    """The number of each pixel's group, from 1; 0 = none."""
    masks = views.visible_masks
    assert masks.sum(2).max() <= 1
    return (masks * torch.arange(1, masks.shape[2] + 1)[:, None, None]).sum(2).long()


@pytest.mark.parametrize(("width", "count"), [(8, 2), (7, 3), (5, 5), (64, 6)])
def test_stripes_are_of_one_width_and_fill_the_frame(width: int, count: int) -> None:
    views = stripes(of_ids(torch.zeros(2, 3, 4, width, dtype=torch.long)), count)
    assert views.visible_masks.shape == (2, 3, count, 4, width)
    assert (views.visible_masks.sum(2) == 1).all()
    assert (views.visible_masks == views.visible_masks[:1, :1, :, :1]).all()
    row = ids_of(views)[0, 0, 0].tolist()
    assert row == sorted(row)
    widths = [row.count(number) for number in range(1, count + 1)]
    assert max(widths) - min(widths) <= 1


@settings(max_examples=100, deadline=None)
@given(FRAMES)
def test_components_of_a_frame_are_those_of_scikit_image(there: np.ndarray) -> None:
    for frame, numbers in zip(there, followed_components(there), strict=True):
        assert ((numbers > 0) == frame).all()
        assert (
            adjusted_rand_score(label(frame, connectivity=1)[frame], numbers[frame]) == 1 or not frame.any()
        )


@settings(max_examples=100, deadline=None)
@given(FRAMES)
def test_components_are_followed_with_the_greatest_overlap_of_all_pairings(there: np.ndarray) -> None:
    """Against every way to pair those of a frame with those of the next; no number comes back."""
    seen: set[int] = set()
    for before, now in pairwise(followed_components(there)):
        old, new = (sorted(set(x[x > 0].tolist())) for x in (before, now))
        seen |= set(old)
        fit = {(a, b): iou(before == a, now == b) for a in old for b in new}
        longer, shorter = (old, new) if len(old) > len(new) else (new, old)
        if len(longer) > 6:
            continue
        sums = [
            sum(fit[(a, b) if longer is old else (b, a)] for a, b in zip(chosen, shorter, strict=True))
            for chosen in permutations(longer, len(shorter))
        ]
        assert sum(iou(before == number, now == number) for number in new) == pytest.approx(max(sums))
        assert not (set(new) - set(old)) & seen


def test_parts_that_touch_and_come_apart_leave_one_number_and_get_a_new_one() -> None:
    row = torch.tensor([[1, 1, 0, 2, 2], [0, 1, 1, 2, 2], [1, 1, 0, 2, 2]])
    assert ids_of(components(of_ids(row[None, :, None])))[0, :, 0].tolist() == [
        [1, 1, 0, 2, 2],
        [0, 2, 2, 2, 2],
        [3, 3, 0, 2, 2],
    ]


def test_parts_that_meet_at_a_corner_are_two() -> None:
    ids = torch.tensor([[1, 0], [0, 1]])[None, None]
    assert ids_of(components(of_ids(ids)))[0, 0].tolist() == [[1, 0], [0, 2]]


def test_boxes_are_those_of_the_parts_and_absent_parts_have_none() -> None:
    ids = torch.zeros(1, 2, 4, 6, dtype=torch.long)
    ids[0, :, 1:3, 2:5] = 1
    ids[0, 0, 0, 0] = 2
    boxes = components(of_ids(ids)).boxes[0].tolist()
    assert boxes == [[[0, 0, 1, 1], [2, 1, 5, 3]], [[0, 0, 0, 0], [2, 1, 5, 3]]]


def test_more_parts_than_are_counted_share_the_last_number() -> None:
    ids = torch.zeros(1, 1, 2 * MOST + 10, 1, dtype=torch.long)
    ids[0, 0, ::2] = 1
    numbers = ids_of(components(of_ids(ids)))
    assert numbers.unique().tolist() == list(range(MOST + 1))
    assert (numbers == MOST).sum() == 6


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(6, 40))
def test_lloyd_agrees_with_scikit_learn(seed: int, count: int, points: int) -> None:
    """From the same centres, to the end of both."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(points, 3)).astype(np.float32)
    start = x[rng.choice(points, count, replace=False)]
    found, centres = None, torch.from_numpy(start)[None]
    counted, wanted = torch.ones(1, points, dtype=torch.bool), torch.ones(1, count, dtype=torch.bool)
    for _ in range(10):
        found, centres = lloyd(torch.from_numpy(x)[None], counted, centres, wanted)
    theirs = KMeans(count, init=start, n_init=1, max_iter=300, tol=0).fit(x)
    if len(set(theirs.labels_.tolist())) == count:  # it moves groups that have become empty
        assert centres[0].numpy() == pytest.approx(theirs.cluster_centers_, abs=1e-4)
        assert found[0].tolist() == theirs.labels_.tolist()


def test_first_centres_are_far_apart() -> None:
    points = torch.tensor([[[0.0, 0], [0.1, 0], [1, 0], [0, 2], [50, 50]]])
    counted = torch.tensor([[True, True, True, True, False]])
    assert far_apart(points, counted, 3)[0].tolist() == [[0, 2], [1, 0], [0, 0]]


def test_k_means_tells_apart_what_lies_apart_and_keeps_its_numbers() -> None:
    frames = torch.zeros(1, 3, 3, 12, 12)
    ids = torch.zeros(1, 3, 12, 12, dtype=torch.long)
    for t in range(3):
        ids[0, t, 1:3, 1 + t : 3 + t], ids[0, t, 8:11, 8 - t : 10 - t] = 1, 2
    video = of_ids(ids, frames)
    for name in ("fg_ari_frame", "fg_ari_video", "ari_video"):
        assert SCORES[name].measure(k_means(video), video).min() == 1


def test_k_means_tells_what_touches_apart_by_colour() -> None:
    ids = torch.ones(1, 1, 6, 6, dtype=torch.long)
    ids[..., 2:] = 2
    colours = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]])
    painted, grey = (of_ids(ids, x.permute(0, 1, 4, 2, 3)) for x in (colours[ids], colours[ids * 0]))
    score = SCORES["fg_ari_frame"].measure
    assert score(k_means(painted), painted).item() == 1
    assert score(k_means(grey), grey).item() < 1


def test_k_means_waits_for_objects_and_goes_on_where_they_were() -> None:
    ids = torch.zeros(2, 5, 4, 8, dtype=torch.long)
    ids[0, [1, 2, 4], :2, :2] = 1
    ids[0, [1, 2, 4], :2, 6:] = 2
    found = ids_of(k_means(of_ids(ids, torch.zeros(2, 5, 1, 4, 8))))
    assert (found[0, [0, 3]] == 0).all()
    assert (found[1] == 0).all()
    assert (found[0, 1] == found[0, 4]).all()
    assert found[0, 1].unique().tolist() == [0, 1, 2]


def test_they_are_told_which_pixels_are_objects_and_how_many_there_are_and_no_more() -> None:
    """The same pixels, dealt out to as many objects at random."""
    video = sprites(3, objects=3)
    ids = video.truth.visible_ids
    other = torch.randint(1, 4, ids.shape, generator=torch.Generator().manual_seed(0)) * (ids > 0)
    for reference in groupings(4).values():
        ours, dealt = reference(video), reference(Video(video.frames, Truth(other)))
        assert (ours.visible_masks == dealt.visible_masks).all()
    renamed = Video(video.frames, Truth((ids > 0).long()))
    assert (components(video).visible_masks == components(renamed).visible_masks).all()


@pytest.mark.parametrize("name", groupings(3))
def test_they_have_what_scores_of_grouping_need_and_need_ids(name: str) -> None:
    video = squares()
    reference = groupings(3)[name]
    views = reference(video)
    assert set(views.tensors()) <= {"visible_masks", "boxes"}
    assert views.visible_masks.shape[:2] == video.frames.shape[:2]
    scored = SCORES["fg_ari_frame"].measure(views, video)
    assert scored.shape == video.frames.shape[:2]
    assert scored.max() <= 1
    assert reference(Video(video.frames)) is None
    assert reference(Video(video.frames, replace(video.truth, visible_ids=None))) is None


def test_a_model_without_slots_has_none_beside_it() -> None:
    assert groupings(0) == {}


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))
