"""A model and its references on clips: against all values at once, on any number of ranks."""

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from model.interface import ModelOutput, Video, Views
from tests.trainer.known import Halves, sprites
from trainer.batch import some_clips
from trainer.evaluation.references import copy_last, oracle, true_order
from trainer.evaluation.result import Evaluation
from trainer.evaluation.scoring import evaluate
from trainer.scores import SCORES

CPU = torch.device("cpu")


class Still(Halves):
    """Copies the last frame; on any device."""

    def forward(self, video: Video, step: int) -> ModelOutput:
        return ModelOutput(torch.zeros(()), {}, lambda: copy_last(video))


class Diverged(Halves):
    """Has lost its numbers."""

    def forward(self, video: Video, step: int) -> ModelOutput:
        return ModelOutput(torch.zeros(()), {}, lambda: Views(prediction=video.frames[:, 1:] * torch.nan))


def batches(video: Video, sizes: list[int]) -> list[Video]:
    ends = np.cumsum(sizes).tolist()
    return [some_clips(video, slice(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def test_means_are_those_of_all_values_at_once() -> None:
    video = sprites(objects=2)
    result = evaluate(Halves(), batches(video, [3, 3, 1]), 5, CPU)
    views = Halves().eval()(Video(video.frames), 5).views
    for contender, expected in {
        "model": views,
        "copy-last": copy_last(video),
        "oracle ceiling": oracle(video),
    }.items():
        for name, score in SCORES.items():
            if score.missing(expected, video):
                assert name not in result.tables[contender]
                continue
            values = score.measure(expected, video).double()
            curve = result.tables[contender][name]
            assert sum(curve.counts) == int((~values.isnan()).sum())
            wanted = values.nanmean().item()
            assert curve.mean == (None if np.isnan(wanted) else pytest.approx(wanted, abs=1e-12)), (
                contender,
                name,
            )
            per_step = values.transpose(0, 1).flatten(1).nanmean(dim=1)
            assert [np.nan if m is None else m for m in curve.means] == pytest.approx(
                per_step.tolist(), nan_ok=True
            )
    assert (result.clips, result.slots, result.objects, result.step) == (7, 2, 2.0, 5)
    assert result.skipped["depth_order"] == "views.depth_order"
    assert result.skipped["motion_error"] == "views.motion"
    assert result.tables["model"]["psnr"].first == 2
    assert result.tables["model"]["amodal_iou"].first == 1
    assert result.tables["model"]["fg_ari_video"].first == 0


@pytest.mark.parametrize("shares", [[[4], [3]], [[2, 1], [4], []], [[], [1, 1, 1, 1, 1, 1, 1]]])
def test_any_number_of_ranks_gives_what_one_gives(shares: list[list[int]]) -> None:
    video = sprites(objects=3)
    alone = evaluate(Halves(), batches(video, [7]), 1, CPU)
    parts = iter(batches(video, [size for share in shares for size in share]))
    together = on_ranks([[next(parts) for _ in share] for share in shares])
    assert len(together) == len(shares)
    for result in together:
        assert (result.clips, result.slots, result.objects) == (7, 2, 3.0)
        assert result.tables.keys() == alone.tables.keys()
        for contender, rows in alone.tables.items():
            assert result.tables[contender].keys() == rows.keys()
            for name, curve in rows.items():
                other = result.tables[contender][name]
                assert (other.first, other.counts) == (curve.first, curve.counts)
                assert [other.mean, *other.means] == pytest.approx([curve.mean, *curve.means], abs=1e-12)


def test_the_oracle_is_the_ceiling_and_copy_last_the_floor() -> None:
    """The levels of the published data set's reimplementation, at half its size: order and distance must hold."""
    result = evaluate(Halves(), [sprites(24, objects=3)], 0, CPU)
    assert (
        result.mean("black", "psnr")
        < result.mean("copy-last", "psnr")
        < result.mean("oracle ceiling", "psnr")
    )
    assert result.mean("oracle ceiling", "psnr") - result.mean("copy-last", "psnr") > 8
    assert result.mean("oracle ceiling", "fg_ari_video") > 0.98
    assert result.mean("copy-last", "fg_ari_video") == pytest.approx(0)
    assert result.mean("oracle ceiling", "depth_order") == 1


def test_padded_objects_come_last_in_the_true_order() -> None:
    truth = sprites(2, objects=3).truth
    truth = replace(
        truth, depth_ranks=torch.tensor([[1, 0, 0], [2, 0, 1]]), present=torch.tensor([[1, 1, 0], [1, 1, 1]])
    )
    assert true_order(truth).argmax(2).tolist() == [[1, 0, 2], [2, 0, 1]]


def test_videos_without_truth_are_scored_on_prediction_alone() -> None:
    result = evaluate(Halves(), [Video(sprites(2).frames)], 0, CPU)
    assert set(result.scores) == {"psnr", "ssim", "mse", "l1"}
    assert "oracle ceiling" not in result.tables
    assert result.objects is None
    assert result.skipped["fg_ari_video"] == "truth.visible_ids"
    assert "skipped fg_ari_video: no truth.visible_ids" in result.text()


def test_a_model_that_predicts_fewer_frames_than_its_references_keeps_its_place() -> None:
    class Last(Halves):
        def forward(self, video: Video, step: int) -> ModelOutput:
            return ModelOutput(torch.zeros(()), {}, lambda: Views(prediction=video.frames[:, -1:] * 0.9))

    result = evaluate(Last(), [Video(sprites(2).frames)], 0, CPU)
    assert result.tables["model"]["psnr"].first == 6
    lines = result.text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("psnr of frame"))
    header, model, copies = lines[start : start + 3]
    assert header.split()[3:] == ["2", "3", "4", "5", "6"]
    assert model.split()[1:5] == ["-"] * 4
    assert float(model.split()[5]) == pytest.approx(result.scores["psnr"], abs=0.01)
    assert "-" not in copies.split()[1:]


def test_frames_too_small_for_ssim_have_none() -> None:
    frames = sprites(2).frames[..., :8, :8]
    result = evaluate(Halves(), [Video(frames)], 0, CPU)
    assert result.tables["model"]["ssim"].mean is None
    assert result.scores.keys() == {"psnr", "mse", "l1"}


def test_model_is_back_in_its_mode_and_references_can_be_left_out() -> None:
    model = Halves().train()
    result = evaluate(model, [sprites(2)], 0, CPU, references={})
    assert model.training
    assert list(result.tables) == ["model"]


@pytest.mark.gpu
def test_a_gpu_gives_the_same_numbers() -> None:
    video = sprites(objects=3)
    truth = replace(video.truth, **{name: value.cuda() for name, value in vars(video.truth).items()})
    there = evaluate(Still(), [Video(video.frames.cuda(), truth)], 0, torch.device("cuda"))
    here = evaluate(Still(), [video], 0, CPU)
    for contender, rows in here.tables.items():
        for name, curve in rows.items():
            assert there.tables[contender][name].mean == pytest.approx(curve.mean, rel=1e-5), (
                contender,
                name,
            )


def test_a_diverged_model_is_an_error_not_a_missing_value() -> None:
    with pytest.raises(FloatingPointError, match=r"views.prediction of the model is not finite at step 40"):
        evaluate(Diverged(), [sprites(2)], 40, CPU)


def test_what_diverges_on_one_rank_alone_ends_all_of_them() -> None:
    """The other rank's views are whole: it learns of it in the sum, and nobody waits for anybody."""

    def with_another(vector: Tensor) -> Tensor:
        other = torch.zeros_like(vector)
        other[-1] = 1
        return vector + other

    with pytest.raises(
        FloatingPointError, match=r"views of the model are, on another rank, not finite at step 40"
    ):
        evaluate(Halves(), [sprites(2)], 40, CPU, reduce=with_another)


def test_no_clip_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="no clip to evaluate"):
        evaluate(Halves(), [], 0, CPU)


def on_ranks(shares: list[list[Video]]) -> list[Evaluation]:
    """Evaluate on as many threads as shares, with a summing reduce between them."""
    barrier = threading.Barrier(len(shares), timeout=60)
    vectors: list[Tensor | None] = [None] * len(shares)
    results: list[Evaluation | None] = [None] * len(shares)

    def reduce_for(rank: int) -> Callable[[Tensor], Tensor]:
        def total(vector: Tensor) -> Tensor:
            assert vector.dtype == torch.float64
            vectors[rank] = vector
            barrier.wait()
            result = torch.stack(vectors).sum(0)
            barrier.wait()
            return result

        return total

    def work(rank: int) -> None:
        results[rank] = evaluate(Halves(), shares[rank], 1, CPU, reduce_for(rank))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(shares))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    return [result for result in results if result is not None]
