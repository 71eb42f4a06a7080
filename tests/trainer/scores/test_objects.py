"""Slots against objects: matching, hidden parts, order, motion, memory."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.interface import Truth, Video, Views
from tests.trainer.squares import HEIGHT, WIDTH, squares
from trainer.evaluation.references import oracle
from trainer.scores import SCORES
from trainer.scores.matching import match
from trainer.scores.motion import motion_error


def test_matching_finds_permuted_slots_and_leaves_the_spare_one() -> None:
    video = squares()
    views = oracle(video)
    assert views is not None
    spare = torch.zeros_like(views.amodal_masks[:, :, :1])
    spare[..., 0, :6] = 1
    shuffled = torch.cat([spare, views.amodal_masks.flip(2)], dim=2)
    views = Views(amodal_masks=shuffled)
    assert match(views, video).tolist() == [[2, 1]]
    assert SCORES["amodal_iou"].measure(views, video).eq(1).all()
    area = SCORES["unmatched_area"].measure(views, video)
    assert area.nanmean().item() == pytest.approx(6 / (HEIGHT * WIDTH))
    assert area[:, :, 1:].isnan().all()


def test_a_missed_object_counts_zero_and_padding_does_not_count() -> None:
    video = squares()
    one = Views(amodal_masks=oracle(video).amodal_masks[:, :, 1:])
    assert match(one, video).tolist() == [[-1, 0]]
    assert SCORES["amodal_iou"].measure(one, video).mean(dim=(0, 1)).tolist() == [0, 1]
    truth = {name: getattr(video.truth, name) for name in ("amodal_masks", "visible_ids")}
    padded = Truth(
        visible_ids=truth["visible_ids"],
        amodal_masks=torch.cat([truth["amodal_masks"], torch.zeros_like(truth["amodal_masks"])], dim=2),
        present=torch.tensor([[1, 1, 0, 0]]),
    )
    values = SCORES["amodal_iou"].measure(one, Video(video.frames, padded))
    assert values.nanmean(dim=(0, 1))[:2].tolist() == [0, 1]
    assert values[:, :, 2:].isnan().all()


def test_occluded_part_is_scored_where_it_is_hidden() -> None:
    """A mask without its hidden part: full marks where nothing is hidden, none for the hidden part itself."""
    video = squares()
    views = oracle(video)
    modal = replace(views, amodal_masks=views.visible_masks)
    hidden = SCORES["occluded_iou"].measure(views, video)
    assert (~hidden.isnan()).sum() == 1  # squares() overlaps in frame 3 only, and object 1 is in front
    assert hidden[0, 2, 1] == 1
    assert SCORES["occluded_iou"].measure(modal, video)[0, 2, 1] == 0
    assert SCORES["amodal_iou"].measure(modal, video)[0, :, 1].tolist() == pytest.approx([1, 1, 24 / 36, 1])
    partly = SCORES["amodal_iou_partly"].measure(modal, video)
    assert partly.nanmean().item() == pytest.approx(24 / 36)


@pytest.mark.parametrize(("order", "expected"), [("true", 1.0), ("wrong", 0.0), ("undecided", 0.5)])
def test_depth_order_counts_overlapping_pairs_only(order: str, expected: float) -> None:
    video = squares()
    views = oracle(video)
    orders = {
        "true": views.depth_order,
        "wrong": views.depth_order.flip(3),
        "undecided": torch.full_like(views.depth_order, 0.5),
    }
    values = SCORES["depth_order"].measure(replace(views, depth_order=orders[order]), video)
    assert values.isnan()[0, :, 0].tolist() == [True, True, False, True]
    assert values[0, 2, 0].item() == expected


@pytest.mark.parametrize(("pixels", "counted"), [(4, False), (5, True)])
def test_an_overlap_of_fewer_than_five_pixels_does_not_count(pixels: int, counted: bool) -> None:
    video = squares()
    masks = torch.zeros_like(video.truth.amodal_masks)
    masks[..., 0, :9, 0], masks[..., 1, 9 - pixels : 18 - pixels, 0] = 1, 1
    video = replace(video, truth=replace(video.truth, amodal_masks=masks))
    assert SCORES["depth_order"].measure(oracle(video), video).isnan().all() == (not counted)


def test_masks_are_cut_at_one_half() -> None:
    """A haze of 0.4 around a slot's mask, and around an object's, is no part of either."""
    video = squares()
    views, hazy = oracle(video), video.truth.amodal_masks.clamp(min=0.4)
    assert SCORES["amodal_iou"].measure(replace(views, amodal_masks=hazy[:, :4]), video).eq(1).all()
    video = replace(video, truth=replace(video.truth, amodal_masks=hazy))
    assert SCORES["amodal_iou"].measure(views, video).eq(1).all()


@settings(max_examples=50, deadline=None)
@given(st.floats(-0.6, 0.6), st.floats(0.7, 1.4), st.floats(-3, 3), st.floats(-3, 3))
def test_motion_error_is_the_displacement_of_the_centre(
    angle: float, scale: float, dx: float, dy: float
) -> None:
    """Rotating and scaling about the object's own centre moves the centre by the translation alone."""
    video = squares()
    views = oracle(video)
    pixels = np.array([[2 / WIDTH, 0, -1], [0, 2 / HEIGHT, -1], [0, 0, 1]])
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    motion = np.zeros((4, 2, 3, 3))
    for t in range(4):
        for n in range(2):
            centre = video.truth.centres[0, t, n].numpy()
            shift = video.truth.velocities[0, t, n].numpy() + np.array([dx, dy])
            forward = np.eye(3)
            forward[:2, :2], forward[:2, 2] = linear, centre + shift - linear @ centre
            motion[t, n] = pixels @ forward @ np.linalg.inv(pixels)
    views = replace(views, motion=torch.from_numpy(motion)[None])
    assert motion_error(views, video).flatten().tolist() == pytest.approx([math.hypot(dx, dy)] * 8, abs=1e-9)
    deformation = SCORES["motion_deformation"].measure(views, video)
    assert deformation.flatten().tolist() == pytest.approx([np.linalg.norm(linear - np.eye(2))] * 8, abs=1e-9)


def test_memory_is_compared_inside_the_hidden_part_only() -> None:
    video = squares()
    views = oracle(video)
    garbage = torch.rand_like(views.slot_frames)
    hidden = (video.truth.amodal_masks[:, :4] > 0.5) & (
        video.truth.visible_ids[:, :4, None] != torch.arange(1, 3).view(-1, 1, 1)
    )
    off = views.slot_frames - 0.1
    views = replace(views, slot_frames=torch.where(hidden[:, :, :, None], off, garbage))
    values = SCORES["memory_psnr"].measure(views, video)
    assert values.isnan().sum() == 7
    assert values[0, 2, 1].item() == pytest.approx(20.0, abs=1e-4)
