"""Scores: what a model's views are worth against the video and its ground truth. The table SCORES has them all.

A score is a function of (Views, Video); to add one, write it in the file it belongs to and give it a row.
What a row does not find (a field of the views, a label of the truth) makes the score skipped, by name.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.interface import Video, Views
from trainer.scores.consistency import backward_psnr, forward_psnr
from trainer.scores.counting import count_accuracy, discovered_later
from trainer.scores.flow import flow_error, warp_error
from trainer.scores.kinds import Steps
from trainer.scores.labels import accuracy, class_iou, class_recall
from trainer.scores.memory import memory_psnr
from trainer.scores.motion import motion_deformation, motion_error
from trainer.scores.objects import amodal_iou, depth_order_accuracy, occluded_iou, unmatched_area
from trainer.scores.prediction import bce, explained_mse, l1, mse, psnr, ssim
from trainer.scores.segmentation import rand_score
from trainer.scores.tracking import (
    box_fit,
    hota,
    id_switches,
    idf1,
    mota,
    rediscovered,
    switches_across,
    switches_apart,
)

LAYERS = ("amodal_masks", "slot_frames", "background", "depth_order", "motion")
PLACES = ("boxes|amodal_masks",)


@dataclass(frozen=True)
class Score:
    """One row of SCORES.

    `measure` gives values of shape (b, steps, *items), NaN where the question does not arise; `steps` says what
    axis 1 is, by its name in KINDS.
    """

    measure: Callable[[Views, Video], Tensor]
    steps: Steps
    views: tuple[str, ...]  # fields of Views that it reads, such as motion or particles.kl; a|b = either
    truth: tuple[str, ...] = ()  # fields of Truth that it reads
    unit: str = ""
    higher_is_better: bool = True
    about: str = ""

    def missing(self, views: Views, video: Video) -> list[str]:
        """The fields that the score needs and does not find, e.g. ["views.motion", "truth.centres"].

        Views without a frame are as good as none: of clips with one frame, copy-last predicts nothing.
        """
        found = {name for name, value in views.tensors().items() if value.shape[1]}
        lacking = [f"views.{name}" for name in self.views if found.isdisjoint(name.split("|"))]
        return lacking + [f"truth.{name}" for name in self.truth if getattr(video.truth, name, None) is None]

    def of_clips(self, views: Views, video: Video, *, last: bool = False) -> Float[Tensor, "b"] | None:
        """One value for each clip, the mean over its own; NaN where it has none, None where something is missing.

        Args:
            views: of the clips.
            video: the clips.
            last: of the last entry alone, which is the last frame for scores of predicted frames.
        """
        if self.missing(views, video):
            return None
        values = self.measure(views, video)
        return torch.nanmean((values[:, -1:] if last else values).flatten(1), dim=1)


SCORES: dict[str, Score] = {
    "psnr": Score(psnr, "predicted", ("prediction",), unit="dB", about="predicted frames, mean of per-frame dB"),
    "ssim": Score(ssim, "predicted", ("prediction",), about="predicted frames, Gaussian window of sigma 1.5"),
    "bce": Score(
        bce, "clip", ("prediction",), unit="nats", higher_is_better=False,
        about="last frame of grey clips, binary cross-entropy a pixel",
    ),
    "mse": Score(mse, "clip", ("prediction",), higher_is_better=False, about="last frame, squared error a pixel"),
    "l1": Score(l1, "clip", ("prediction",), higher_is_better=False, about="last frame, absolute error a pixel"),
    "explained_mse": Score(
        explained_mse, "decomposed", ("refinements.frames",), higher_is_better=False,
        about="frames as their own slots make them, after the last refinement; squared error a pixel",
    ),
    "fg_ari_video": Score(
        rand_score(foreground=True, per_video=True), "clip", ("visible_masks",), ("visible_ids",),
        about="object pixels grouped as in truth, numbering held over the clip",
    ),
    "fg_ari_frame": Score(
        rand_score(foreground=True, per_video=False), "decomposed", ("visible_masks",), ("visible_ids",),
        about="object pixels grouped as in truth, frame by frame",
    ),
    "ari_video": Score(
        rand_score(foreground=False, per_video=True), "clip", ("visible_masks",), ("visible_ids",),
        about="all pixels grouped as in truth, numbering held over the clip",
    ),
    "ari_frame": Score(
        rand_score(foreground=False, per_video=False), "decomposed", ("visible_masks",), ("visible_ids",),
        about="all pixels grouped as in truth, frame by frame",
    ),
    "amodal_iou": Score(
        amodal_iou(), "decomposed", ("amodal_masks",), ("amodal_masks",),
        about="full-support masks of matched slots; a missed object counts 0",
    ),
    "amodal_iou_clear": Score(
        amodal_iou(0.0, 0.2), "decomposed", ("amodal_masks",), ("amodal_masks", "visible_ids"),
        about="the same, objects less than 20 % hidden",
    ),
    "amodal_iou_partly": Score(
        amodal_iou(0.2, 0.8), "decomposed", ("amodal_masks",), ("amodal_masks", "visible_ids"),
        about="the same, objects 20 to 80 % hidden",
    ),
    "amodal_iou_hidden": Score(
        amodal_iou(0.8, 1.0), "decomposed", ("amodal_masks",), ("amodal_masks", "visible_ids"),
        about="the same, objects at least 80 % hidden",
    ),
    "occluded_iou": Score(
        occluded_iou, "decomposed", ("amodal_masks", "visible_masks"), ("amodal_masks", "visible_ids"),
        about="hidden parts only, of 5 px or more",
    ),
    "unmatched_area": Score(
        unmatched_area, "decomposed", ("amodal_masks",), ("amodal_masks",), unit="of frame",
        higher_is_better=False, about="area of slots that stand for no object",
    ),
    "depth_order": Score(
        depth_order_accuracy, "decomposed", ("amodal_masks", "depth_order"), ("amodal_masks", "depth_ranks"),
        about="overlapping pairs in the right order; chance is 0.5",
    ),
    "motion_error": Score(
        motion_error, "decomposed", ("amodal_masks", "motion"), ("amodal_masks", "centres", "velocities"),
        unit="px", higher_is_better=False, about="end-point error of the true centre",
    ),
    "motion_deformation": Score(
        motion_deformation, "decomposed", ("amodal_masks", "motion"), ("amodal_masks",),
        higher_is_better=False, about="Frobenius norm of the motion's linear part minus the identity",
    ),
    "flow_error": Score(
        flow_error, "predicted", ("flow",), ("visible_ids", "velocities"), unit="px", higher_is_better=False,
        about="end-point error of dense flow where objects are seen; without flow it is their speed",
    ),
    "warp_error": Score(
        warp_error, "predicted", ("flow",), higher_is_better=False,
        about="squared error a pixel of frames made from the one before by flow alone; without flow it is copying's",
    ),
    "count_accuracy": Score(
        count_accuracy, "decomposed", ("presence",), ("present",),
        about="frames in which as many slots hold an object as there are, those out of sight too",
    ),
    "discovered_later": Score(
        discovered_later, "decomposed", ("identities",), unit="a frame", higher_is_better=False,
        about="objects that are found in frames after the first; where none comes later, those found again",
    ),
    "box_iou": Score(
        box_fit, "decomposed", ("boxes",), ("boxes",),
        about="boxes of slots and objects, matched in each frame; a missed object counts 0",
    ),
    "mota": Score(
        mota, "clip", PLACES, ("boxes",),
        about="1 - (missed + false + id switches) / true boxes (CLEAR), mean over clips",
    ),
    "idf1": Score(
        idf1, "clip", PLACES, ("boxes",),
        about="boxes found under the number that stands for their object, mean over clips",
    ),
    "hota": Score(
        hota, "clip", PLACES, ("boxes",),
        about="detection and association of boxes, IoU .05 to .95, mean over clips",
    ),
    "id_switches": Score(
        id_switches, "clip", PLACES, ("boxes",), unit="a clip", higher_is_better=False,
        about="objects found under another number than the last time",
    ),
    "switches_apart": Score(
        switches_apart, "decomposed", PLACES, ("boxes",), higher_is_better=False,
        about="the same of objects by themselves that touched none in between; share of (object, frame)",
    ),
    "switches_across": Score(
        switches_across, "decomposed", PLACES, ("boxes",), higher_is_better=False,
        about="of objects that touched another: share that come away under another number; chance is 0.5",
    ),
    "rediscovered": Score(
        rediscovered, "decomposed", PLACES, ("boxes",), unit="a frame", higher_is_better=False,
        about="known objects that are found again under a number that was never there",
    ),
    "accuracy": Score(
        accuracy, "clip", ("labels",), ("labels",), about="labelled pixels of the right class, all alike (global)",
    ),
    "class_recall": Score(
        class_recall, "class", ("labels",), ("labels",), about="the same for each class, mean over classes",
    ),
    "class_iou": Score(
        class_iou, "class", ("labels",), ("labels",), about="intersection over union, mean over classes (mIoU)",
    ),
    "memory_psnr": Score(
        memory_psnr, "decomposed", ("amodal_masks", "slot_frames"), ("amodal_masks", "visible_ids", "colours"),
        unit="dB", about="remembered colours inside hidden parts",
    ),
    "forward_psnr": Score(
        forward_psnr, "gap", LAYERS, unit="dB", about="frames 2 to 9 steps later, from the objects found now",
    ),
    "backward_psnr": Score(
        backward_psnr, "gap", LAYERS, unit="dB", about="frames 2 to 9 steps earlier, from the objects found now",
    ),
}  # fmt: skip
