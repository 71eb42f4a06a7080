"""Objects followed over clips: figures of TrackEval, and cases by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.interface import Truth, Video, Views
from trainer.scores import SCORES
from trainer.scores.tracking import (
    changes_of_number,
    clip_hota,
    clip_idf1,
    clip_mota,
    followed,
    found_again,
    switched,
)
from trainer.scores.tracks import Tracks, box_iou, mask_boxes, tracks


def random_clip(seed: int, steps: int, slots: int, objects: int) -> Tracks:
    """Objects that come and go, slots whose numbers are now and then shuffled."""
    rng = np.random.default_rng(seed)
    true = np.where(rng.random((steps, objects)) < 0.8, np.arange(1, objects + 1), 0)
    numbers = [
        rng.permutation(6)[:slots] + 1 if rng.random() < 0.3 else np.arange(1, slots + 1)
        for _ in range(steps)
    ]
    found = np.stack(numbers) * (rng.random((steps, slots)) < 0.8)
    fit = rng.random((steps, slots, objects)) * 0.6
    for t in range(steps):
        for i in range(min(slots, objects)):
            fit[t, i, i] = 0.4 + 0.6 * rng.random()
    touched = rng.random((steps, objects)) < 0.3
    return Tracks(fit, found.astype(np.int64), true.astype(np.int64), touched)


@pytest.mark.parametrize(
    ("seed", "shape", "mota", "switches", "idf1", "hota"),
    [
        (7, (10, 3, 4), 0.15151515151515152, 9, 0.43636363636363634, 0.31097566955263783),
        (8, (11, 4, 1), -3.2222222222222223, 3, 0.16326530612244897, 0.17018688580874303),
        (11, (14, 2, 4), 0.044444444444444446, 8, 0.3188405797101449, 0.2534658197804256),
    ],
)
def test_figures_are_those_of_trackeval(
    seed: int, shape: tuple[int, int, int], mota: float, switches: int, idf1: float, hota: float
) -> None:
    """What TrackEval 1.3.0 makes of the same clips; 300 of them agreed to 2e-16."""
    clip = random_clip(seed, *shape)
    assert clip_mota(clip) == pytest.approx(mota, abs=1e-6)
    assert switched(followed(clip)).sum() == switches
    assert clip_idf1(clip) == pytest.approx(idf1, abs=1e-6)
    assert clip_hota(clip) == pytest.approx(hota, abs=1e-6)


def lines(*numbers: tuple[int, int], touched: tuple[int, ...] = ()) -> Tracks:
    """Two objects, found exactly, under these numbers; they touch in the given frames."""
    found = np.array(numbers)
    fit = np.broadcast_to(np.eye(2), (len(found), 2, 2)).copy()
    near = np.isin(np.arange(len(found)), touched)[:, None].repeat(2, 1)
    return Tracks(fit, found, np.broadcast_to([1, 2], found.shape).copy(), near)


def test_what_is_right_has_the_best_figures() -> None:
    clip = lines((5, 7), (5, 7), (5, 7))
    assert (clip_mota(clip), clip_idf1(clip), clip_hota(clip)) == (1.0, 1.0, 1.0)


def test_nothing_found_and_nothing_there() -> None:
    clip = lines((1, 2), (1, 2))
    unseen = clip._replace(found=np.zeros_like(clip.found))
    assert (clip_mota(unseen), clip_idf1(unseen), clip_hota(unseen)) == (0.0, 0.0, 0.0)
    empty = clip._replace(true=np.zeros_like(clip.true))
    assert np.isnan([clip_mota(empty), clip_idf1(empty), clip_hota(empty)]).all()
    assert not followed(empty).any()


def test_switches_while_apart_and_across_an_overlap_are_told_apart() -> None:
    """A swap in an overlap costs where objects come away from it; another number out of nowhere, where it is."""
    across = changes_of_number(lines((1, 2), (1, 2), (2, 1), (2, 1), (2, 1), touched=(1, 2)))
    assert np.nanmean(across[0]) == 0
    assert across[1][3].tolist() == [1, 1]
    assert np.isfinite(across[1]).sum() == 2
    apart = changes_of_number(lines((1, 2), (1, 2), (3, 2), (3, 2)))
    assert apart[0][1:].tolist() == [[0, 0], [1, 0], [0, 0]]
    assert np.isnan(apart[1]).all()
    kept = changes_of_number(lines((1, 2), (1, 2), (0, 2), (1, 2), touched=(1, 2)))
    assert kept[1][3].tolist() == [0, 0]
    lost = changes_of_number(lines((1, 2), (0, 2), (1, 2)))
    assert lost[0][2].tolist() == [0, 0]


def test_rediscovery_is_a_new_number_for_a_known_object() -> None:
    """Two numbers that are swapped are none."""
    assert found_again(lines((1, 2), (3, 4), (4, 3), (5, 3)))[1:].tolist() == [2, 0, 1]


def video_of(boxes: torch.Tensor, **more: torch.Tensor) -> Video:
    batch, steps, objects = boxes.shape[:3]
    truth = Truth(boxes=boxes, present=torch.ones(batch, objects, dtype=torch.long), **more)
    return Video(torch.zeros(batch, steps, 1, 16, 16), truth)


def test_tracks_are_of_what_lies_in_the_frame() -> None:
    """An object that has left is not there, nor is a slot outside; boxes that touch are told."""
    inside, over, out = [2.0, 2, 6, 6], [5.0, 5, 9, 9], [16.0, 2, 20, 6]
    boxes = torch.tensor([[[inside, over], [inside, out]]])
    views = Views(boxes=boxes, presence=torch.ones(1, 2, 2), identities=torch.tensor([[[4, 9], [4, 9]]]))
    (clip,) = tracks(views, video_of(boxes))
    assert clip.found.tolist() == [[4, 9], [4, 0]]
    assert clip.true.tolist() == [[1, 2], [1, 0]]
    assert clip.touched[:, 0].tolist() == [True, False]
    (unseen,) = tracks(views, video_of(boxes, visibility=torch.tensor([[[1.0, 0], [1, 1]]])))
    assert unseen.true.tolist() == [[1, 0], [1, 0]]
    (absent,) = tracks(replace(views, presence=torch.tensor([[[1, 0.4], [0.6, 1]]])), video_of(boxes))
    assert absent.found.tolist() == [[4, 0], [4, 0]]


def test_masks_do_where_there_are_no_boxes() -> None:
    """A slot is an object then, as long as its mask is not empty."""
    masks = torch.zeros(1, 2, 2, 16, 16)
    masks[0, :, 0, 2:6, 3:8] = 0.9
    masks[0, 0, 1, 9, 10] = 0.6
    boxes, there = mask_boxes(masks > 0.5)
    assert boxes[0, 0].tolist() == [[3, 2, 8, 6], [10, 9, 11, 10]]
    assert there.tolist() == [[[True, True], [True, False]]]
    (clip,) = tracks(Views(amodal_masks=masks), video_of(boxes))
    assert clip.found.tolist() == [[1, 2], [1, 0]]
    assert clip_mota(clip) == 1.0
    assert SCORES["mota"].missing(Views(amodal_masks=masks), video_of(boxes)) == []
    assert SCORES["mota"].missing(Views(), video_of(boxes)) == ["views.boxes|amodal_masks"]
    assert SCORES["box_iou"].missing(Views(amodal_masks=masks), video_of(boxes)) == ["views.boxes"]


def test_overlaps_of_boxes() -> None:
    a = torch.tensor([[0.0, 0, 2, 2], [4, 4, 4, 4]])
    b = torch.tensor([[1.0, 0, 3, 2], [0, 0, 2, 2], [4, 4, 4, 4]])
    assert box_iou(a, b).tolist() == [[pytest.approx(1 / 3), 1, 0], [0, 0, 0]]
    values = SCORES["box_iou"].measure(Views(boxes=a[None, None]), video_of(b[None, None, :2]))
    assert values.tolist() == [[[0.0, 1.0]]]
