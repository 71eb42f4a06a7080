"""The table SCORES: all of the oracle, what is missing, shapes."""

from dataclasses import replace

import pytest
import torch

from model.interface import Refinements, Video, Views
from tests.trainer.squares import squares
from trainer.evaluation.references import black, oracle
from trainer.scores import SCORES


def test_oracle_of_hard_squares_is_perfect() -> None:
    """Integer shifts of hard squares: nothing is lost to interpolation, so every score is at its best."""
    video = squares()
    views = oracle(video)
    assert views is not None
    decibels = dict.fromkeys(("psnr", "memory_psnr", "forward_psnr", "backward_psnr"), 100.0)
    best = {
        **decibels,
        "motion_error": 0.0,
        "motion_deformation": 0.0,
        "flow_error": 0.0,
        "mse": 0.0,
        "l1": 0.0,
    }
    for name, score in SCORES.items():
        if name in ("unmatched_area", "amodal_iou_hidden", "bce", "warp_error") or score.missing(
            views, video
        ):
            continue
        values = score.measure(views, video)
        assert values.nanmean().item() == pytest.approx(best.get(name, 1.0), abs=1e-4), name


def test_scores_are_skipped_by_the_name_of_what_is_missing() -> None:
    video = Video(squares().frames)
    missing = {name: score.missing(black(video), video) for name, score in SCORES.items()}
    assert missing["psnr"] == []
    assert missing["depth_order"] == [
        "views.amodal_masks",
        "views.depth_order",
        "truth.amodal_masks",
        "truth.depth_ranks",
    ]
    assert oracle(video) is None


@pytest.mark.parametrize("name", SCORES)
def test_every_score_gives_float64_values_per_clip_and_step(name: str) -> None:
    video = squares()
    labels = torch.zeros(1, *video.frames.shape[1:2], *video.frames.shape[3:], dtype=torch.long)
    video = replace(video, truth=replace(video.truth, labels=labels))
    classes = torch.rand(1, labels.shape[1], 3, *labels.shape[2:])
    slots = torch.ones(1, 4, 2)
    boxes = torch.tensor([0.0, 0.0, 4.0, 4.0]).expand(1, 5, 2, 4)
    video = replace(video, truth=replace(video.truth, boxes=boxes))
    views = replace(
        oracle(video), labels=classes, presence=slots, identities=slots.long(), boxes=boxes[:, :4]
    )
    views = replace(views, refinements=Refinements(frames=torch.rand(1, 4, 2, *video.frames.shape[2:])))
    values = SCORES[name].measure(views, video)
    steps = {"predicted": 4, "decomposed": 4, "clip": 1, "gap": 8, "class": 3}[SCORES[name].steps]
    assert values.shape[:2] == (1, steps)
    assert SCORES[name].about


def test_frames_are_explained_by_the_last_refinement_alone() -> None:
    video = squares()
    frames = video.frames[:, :4, None].expand(-1, -1, 3, -1, -1, -1).clone()
    frames[:, :, :2] = 0.3
    frames[:, 1, 2] += 0.5
    values = SCORES["explained_mse"].measure(Views(refinements=Refinements(frames=frames)), video)
    torch.testing.assert_close(values, torch.tensor([[0.0, 0.25, 0.0, 0.0]], dtype=torch.float64))
