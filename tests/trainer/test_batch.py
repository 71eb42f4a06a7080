"""From arrays of bytes to tensors: what becomes of each field of a batch, and of its frames in time."""

from dataclasses import fields
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

from data_shards.clip import BATCH_FIELDS, UNLABELLED, Batch
from model.interface import Truth, Video
from trainer.batch import first_frames, limited, split_video, to_video

CPU = torch.device("cpu")
SIZES = {"t": 5, "h": 4, "w": 6, "c": 3, "n": 2}


def full_batch() -> Batch:
    """Two clips with every field there is, its numbers random."""
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.integers(0, 200, (2, *field.shape(SIZES))).astype(field.dtype)
        for name, field in BATCH_FIELDS.items()
    }
    return Batch(["a", "b"], **arrays)


def test_truth_has_the_fields_of_the_table() -> None:
    hints = {name: get_args(hint)[0] for name, hint in get_type_hints(Truth).items()}
    assert {name: hint.dim_str for name, hint in hints.items()} == {
        name: f"b {field.axes}" for name, field in BATCH_FIELDS.items() if name != "frames"
    }


def test_every_field_of_a_batch_becomes_truth() -> None:
    batch = full_batch()
    truth = to_video(batch, CPU).truth
    assert truth is not None
    for field in fields(Truth):
        array, tensor = getattr(batch, field.name), getattr(truth, field.name)
        scale = BATCH_FIELDS[field.name].full or 1
        np.testing.assert_allclose(tensor.numpy(), array / scale, rtol=1e-6)
        levels = BATCH_FIELDS[field.name].full is not None
        assert tensor.dtype == (torch.float32 if levels or array.dtype.kind == "f" else torch.int64)


def test_what_is_not_labelled_is_minus_one() -> None:
    labels = np.array([[[[0, 11], [UNLABELLED, 254]]]], np.uint8)
    truth = to_video(Batch(["a"], np.zeros((1, 1, 2, 2, 1), np.uint8), labels=labels), CPU).truth
    assert truth is not None
    assert truth.labels is not None
    assert truth.labels.tolist() == [[[[0, 11], [-1, 254]]]]


@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_first_frames_and_all_truth_of_them(count: int) -> None:
    whole = to_video(full_batch(), CPU)
    assert whole.truth is not None
    some = first_frames(Video(whole.frames, whole.truth, labels=whole.truth.labels), count)
    assert torch.equal(some.frames, whole.frames[:, :count])
    assert some.labels is not None
    assert some.labels.shape[1] == count
    assert some.truth is not None
    for name, field in BATCH_FIELDS.items():
        if name == "frames":
            continue
        before, after = getattr(whole.truth, name), getattr(some.truth, name)
        wanted = before[:, :count] if field.axes.split()[0] == "t" else before
        assert torch.equal(after, wanted), name


def test_first_frames_of_clips_without_truth() -> None:
    video = first_frames(Video(torch.zeros(2, 5, 3, 4, 6)), 2)
    assert video.frames.shape == (2, 2, 3, 4, 6)
    assert video.truth is None
    assert video.labels is None


@pytest.mark.parametrize("count", [0, 6])
def test_there_are_no_more_frames_than_the_clips_have(count: int) -> None:
    with pytest.raises(ValueError, match=f"frames {count} must be 1 to 5, the length of the clips"):
        first_frames(to_video(full_batch(), CPU), count)


def test_micro_batches_of_first_frames_keep_their_labels() -> None:
    parts = split_video(first_frames(to_video(full_batch(), CPU), 3), 1)
    assert [part.labels.shape for part in parts if part.labels is not None] == [(1, 3, 4, 6)] * 2


def a_batch(clips: int) -> Batch:
    rng = np.random.default_rng(0)
    return Batch(
        [str(i) for i in range(clips)],
        rng.integers(0, 256, (clips, 2, 4, 5, 3), np.uint8),
        amodal_masks=rng.integers(0, 256, (clips, 2, 1, 4, 5), np.uint8),
        present=np.ones((clips, 1), np.int32),
    )


def test_video_has_the_frames_of_the_batch_between_0_and_1() -> None:
    batch = a_batch(3)
    video = to_video(batch, CPU)
    assert video.frames.shape == (3, 2, 3, 4, 5)
    assert video.frames[1, 1, 2, 3, 4].item() == pytest.approx(batch.frames[1, 1, 3, 4, 2] / 255)
    assert video.truth is not None
    assert video.truth.amodal_masks is not None
    assert float(video.truth.amodal_masks.max()) <= 1
    assert video.truth.visible_ids is None
    assert to_video(Batch(["0"], batch.frames[:1]), CPU).truth is None


def test_micro_batches_and_limits_keep_the_order() -> None:
    video = to_video(a_batch(5), CPU)
    assert [p.frames.shape[0] for p in split_video(video, 2)] == [2, 2, 1]
    assert torch.equal(torch.cat([p.frames for p in split_video(video, 2)]), video.frames)
    some = list(limited(iter([video, video, video]), 7))
    assert [v.frames.shape[0] for v in some] == [5, 2]
    assert some[1].truth is not None
    assert some[1].truth.present is not None
    assert some[1].truth.present.shape[0] == 2
    assert [v.frames.shape[0] for v in limited(iter([video]), None)] == [5]
