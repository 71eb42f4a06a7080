"""Rows of pictures of a clip of which everything is known."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from types import NoneType
from typing import Any, get_args

import numpy as np
import pytest
import torch

from model.interface import Refinements, Video, Views
from tests.trainer.known import sprites
from trainer.evaluation.references import copy_last, oracle
from trainer.pictures.picture import PALETTE, UNMATCHED, object_colours, rgb
from trainer.scores.matching import match
from trainer.strips import STRIPS, strips
from trainer.strips.frames import rollout_strip
from trainer.strips.slots import arrows

SIZES = {"b": 1, "t": 6, "s": 5, "q": 5, "f": 5, "k": 3, "c": 3, "h": 32, "w": 32}  # 2 of what else there is


def full_views(video: Video) -> Views:
    """All that views can have: what the oracle knows, and for the rest any numbers of the right shape."""
    known = {entry.name: getattr(oracle(video), entry.name) for entry in fields(Views)}
    return filled(Views, known)


def filled(kind: Any, known: Mapping[str, Any]) -> Any:
    """A dataclass of tensors with every field: the known ones, and random ones where there is None."""
    made: dict[str, Any] = {}
    for entry in fields(kind):
        wanted = next(part for part in (*get_args(entry.type), entry.type) if part is not NoneType)
        if known.get(entry.name) is not None:
            made[entry.name] = known[entry.name]
        elif is_dataclass(wanted):
            made[entry.name] = filled(wanted, {})
        else:
            shape = [int(axis) if axis.isdigit() else SIZES.get(axis, 2) for axis in wanted.dim_str.split()]
            made[entry.name] = torch.randint(0, 2, shape) if "int64" in wanted.dtypes else torch.rand(shape)
    return kind(**made)


@pytest.mark.parametrize("name", STRIPS)
def test_without_views_or_truth_there_is_the_clip_alone(name: str) -> None:
    video = Video(sprites(1, 1, objects=3).frames)
    for row in STRIPS[name](Views(), video):
        np.testing.assert_array_equal(np.stack(row.pictures), np.stack(rgb(video.frames[0])))


@pytest.mark.parametrize("name", STRIPS)
def test_rows_have_labels_and_a_picture_for_each_frame_from_the_first_or_to_the_last(name: str) -> None:
    video = sprites(1, 1, objects=3)
    video = replace(video, truth=replace(video.truth, labels=torch.randint(-1, 4, (1, 6, 32, 32))))
    rows = STRIPS[name](full_views(video), video)
    assert rows
    for row in rows:
        assert row.label
        assert row.about
        assert row.kind in row.label
        assert len(row.pictures) in (5, 6), row.label
        assert row.first in (1, 7 - len(row.pictures)), row.label
        assert all(picture.dtype == np.uint8 and picture.shape[2:] == (3,) for picture in row.pictures)
    everywhere = [row.label for row in strips(full_views(video), video)]
    assert len(set(everywhere)) == len(everywhere)
    assert {row.label for row in rows} <= set(everywhere)


def test_oracle_gets_every_row_and_true_and_found_objects_agree() -> None:
    video = sprites(1, 1, objects=3)
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
    video = Video(sprites(1, 1, objects=3).frames)
    assert [row.label for row in strips(Views(), video)] == ["frames"]
    rows = [row.label for row in strips(copy_last(video), video)]
    assert not {"true objects", "true flow"} & set(rows)
    assert {"motion", "flow"} <= set(rows)


@pytest.mark.parametrize(("predicted", "first"), [(6, 1), (5, 2), (2, 5)])
def test_predictions_stand_under_their_frames(predicted: int, first: int) -> None:
    """Models may predict the last frames only, or reconstruct all of them: then nothing could be copied at first."""
    video = Video(sprites(1, 1, objects=3).frames)
    rows = {row.label: row for row in strips(Views(prediction=video.frames[:, -predicted:]), video)}
    assert (rows["prediction"].first, rows["error"].first) == (first, first)
    assert rows["error of copying"].first == max(first, 2)
    assert all(len(row.pictures) == 7 - row.first for row in rows.values())
    assert not np.stack(rows["error"].pictures).any()


def test_true_objects_wear_the_colours_of_their_slots() -> None:
    video = sprites(1, 1, objects=3)
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


def test_rollout_stands_under_the_frames_it_dreams_of() -> None:
    row = rollout_strip(torch.zeros(1, 3, 1, 4, 4), 5)
    assert (row.first, len(row.pictures)) == (6, 3)


def test_each_refinement_has_its_rows() -> None:
    """Frames as they are made and who owns them, from the first guess on; parts of slots sum to the last."""
    video = Video(sprites(1, 1, objects=3).frames)
    masks = torch.rand(1, 6, 2, 3, 32, 32).softmax(3)
    parts = torch.rand(1, 6, 3, 3, 32, 32)
    made = (masks[:, :, :, :, None] * parts[:, :, None]).sum(3)
    known = Views(visible_masks=masks[:, :, -1], slot_frames=parts, refinements=Refinements(masks, made))
    rows = {row.label: row for row in STRIPS["refinements"](known, video)}
    assert list(rows) == [
        "drawn after 0", "drawn after 1", "owners after 0", "owners after 1", "part 1", "part 2", "part 3",
    ]  # fmt: skip
    np.testing.assert_array_equal(rows["drawn after 0"].pictures[2], rgb(made[0, :, 0])[2])
    whole = np.stack([rows[f"part {k}"].pictures[4] for k in (1, 2, 3)]).astype(int).sum(0)
    assert abs(whole - rows["drawn after 1"].pictures[4].astype(int)).max() <= 2
    assert (rows["owners after 1"].pictures[0][0, 0] == PALETTE[int(masks[0, 0, 1, :, 0, 0].argmax())]).all()
