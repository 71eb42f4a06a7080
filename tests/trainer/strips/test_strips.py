from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from data_shards.clip import Batch
from data_shards.sources.sprites import Sprites
from model.interface import Video, Views
from trainer.batch import to_video
from trainer.evaluation.references import copy_last, oracle
from trainer.papers.object_discovery import cycle_strips
from trainer.pictures.picture import PALETTE, UNMATCHED, object_colours, rgb
from trainer.scores.matching import match
from trainer.strips import strips
from trainer.strips.frames import rollout_strip
from trainer.strips.slots import arrows


def clip(**fields: Any) -> Video:
    sprite = next(iter(Sprites(size=32, frames=6, objects=3, **fields).clips("val", 1, seed=1)))
    names = ("frames", "visible_ids", "amodal_masks", "depth_ranks", "centres", "velocities", "colours")
    arrays = {name: getattr(sprite, name)[None] for name in names}
    return to_video(Batch([sprite.key], **arrays, present=np.ones((1, 3), np.int32)), torch.device("cpu"))


def test_oracle_gets_every_row_and_true_and_found_objects_agree() -> None:
    video = clip()
    rows = {row.label: row for row in strips(oracle(video), video)}
    assert list(rows) == [
        "frames", "prediction", "error", "error of copying", "flow", "true flow", "true objects", "found objects",
        "mask 1", "mask 2", "mask 3", "depth order", "object 1", "object 2", "object 3", "background", "motion",
    ]  # fmt: skip
    for row in rows.values():
        assert row.first + len(row.pictures) - 1 == (6 if row.label in list(rows)[:7] else 5), row.label
        assert all(p.dtype == np.uint8 and p.ndim == 3 for p in row.pictures)
    agree = np.mean(rows["true objects"].pictures[0] == rows["found objects"].pictures[0])
    assert agree > 0.99
    error, still = (np.stack(rows[n].pictures).astype(int).sum() for n in ("error", "error of copying"))
    assert error < still / 2


def test_rows_need_only_what_the_views_have() -> None:
    video = Video(clip().frames)
    assert [row.label for row in strips(Views(), video)] == ["frames"]
    rows = [row.label for row in strips(copy_last(video), video)]
    assert not {"true objects", "true flow"} & set(rows)
    assert {"motion", "flow"} <= set(rows)
    assert cycle_strips(Views(prediction=video.frames[:, 1:]), video, 1, 4) == []


@pytest.mark.parametrize(("predicted", "first"), [(6, 1), (5, 2), (2, 5)])
def test_predictions_stand_under_their_frames(predicted: int, first: int) -> None:
    """Models may predict the last frames only, or reconstruct all of them: then nothing could be copied at first."""
    video = Video(clip().frames)
    rows = {row.label: row for row in strips(Views(prediction=video.frames[:, -predicted:]), video)}
    assert (rows["prediction"].first, rows["error"].first) == (first, first)
    assert rows["error of copying"].first == max(first, 2)
    assert all(len(row.pictures) == 7 - row.first for row in rows.values())
    assert not np.stack(rows["error"].pictures).any()


def test_true_objects_wear_the_colours_of_their_slots() -> None:
    video = clip()
    views = oracle(video)
    turned = replace(views, amodal_masks=views.amodal_masks.flip(2))
    np.testing.assert_array_equal(object_colours(match(turned, video)[0]), PALETTE[[2, 1, 0]])
    np.testing.assert_array_equal(object_colours(torch.tensor([-1, 0])), [UNMATCHED, PALETTE[0]])
    rows = {row.label: row for row in strips(turned, video)}
    true, found = rows["true objects"].pictures, rows["found objects"].pictures
    assert len(true) == 6
    assert len(found) == 5
    found_unturned = {row.label: row for row in strips(views, video)}["found objects"].pictures
    same = [np.mean(np.all(a == b, axis=2)) for a, b in zip(true, found_unturned, strict=False)]
    assert max(same) < 1  # the masks were turned, the visible masks were not: colours must differ


def test_arrow_points_from_the_mask_along_its_motion() -> None:
    frames = torch.zeros(1, 2, 3, 32, 32)
    masks = torch.zeros(1, 1, 1, 32, 32)
    masks[..., 14:18, 4:8] = 1  # centre (6, 16)
    motion = torch.eye(3).repeat(1, 1, 1, 1, 1)
    motion[..., 0, 2] = 2 * 5 / 32  # 5 px to the right
    picture = arrows(Views(amodal_masks=masks, motion=motion), Video(frames), None)[0]
    assert picture.shape == (256, 256, 3)
    ys, xs = np.nonzero(picture.any(axis=2))
    scale, reach = 8, 3 * 5
    assert abs(ys.mean() - 16 * scale) < 2
    assert xs.min() == pytest.approx(6 * scale - 3, abs=2)
    assert xs.max() == pytest.approx((6 + reach) * scale, abs=2)


def test_frames_far_apart_are_made_from_one_another() -> None:
    video = clip(hard_edges=True)
    rows = cycle_strips(oracle(video), video, 2, 5)
    assert [row.label for row in rows] == ["2 → 5", "5 → 2"]
    for row, target in zip(rows, (5, 2), strict=True):
        assert len(row.pictures) == 6
        made, true = (p.astype(int) for p in row.pictures[-2:])
        np.testing.assert_array_equal(true, rgb(video.frames[0, target - 1 : target])[0])
        wrong = rgb(video.frames[0, 7 - target - 1 : 7 - target])[0]
        assert np.abs(made - true).mean() < 0.3 * np.abs(made - wrong).mean()


def test_rollout_stands_under_the_frames_it_dreams_of() -> None:
    row = rollout_strip(torch.zeros(1, 3, 1, 4, 4), 5)
    assert (row.first, len(row.pictures)) == (6, 3)
