import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from data_shards.clip import Batch
from data_shards.sources.sprites import Sprites
from data_shards.writer import build
from model.interface import ModelOutput, Video, VideoModel, Views
from tests.saved_run import save_run
from trainer.__main__ import main
from trainer.batch import some_clips, to_video
from trainer.evaluation.references import copy_last, oracle, true_order
from trainer.evaluation.result import Evaluation, aligned, count, number
from trainer.evaluation.scoring import evaluate
from trainer.papers.object_discovery import box_plot, grid_text, objects_grid
from trainer.papers.paper import Cell
from trainer.scores import SCORES

CPU = torch.device("cpu")


class Halves(VideoModel):
    """Predicts the mean of frame t and black; its two slots are the halves of the frame. Refuses to see truth."""

    def forward(self, video: Video, step: int) -> ModelOutput:
        assert video.truth is None
        assert not self.training
        past = video.frames[:, :-1]
        masks = torch.zeros(*past.shape[:2], 2, *past.shape[3:])
        half = past.shape[-1] // 2
        masks[:, :, 0, :, :half] = 1
        masks[:, :, 1, :, half:] = 1
        return ModelOutput(
            torch.zeros(()), {}, lambda: Views(prediction=past / 2, visible_masks=masks, amodal_masks=masks)
        )

    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        return video.frames[:, -1:].expand(-1, horizon, -1, -1, -1)


class Still(Halves):
    """Copies the last frame; on any device."""

    def forward(self, video: Video, step: int) -> ModelOutput:
        return ModelOutput(torch.zeros(()), {}, lambda: copy_last(video))


class Diverged(Halves):
    """Has lost its numbers."""

    def forward(self, video: Video, step: int) -> ModelOutput:
        return ModelOutput(torch.zeros(()), {}, lambda: Views(prediction=video.frames[:, 1:] * torch.nan))


def sprites(count: int = 7, **fields: Any) -> Video:
    clips = list(Sprites(size=32, frames=6, **fields).clips("val", count, seed=3))
    names = ("frames", "visible_ids", "amodal_masks", "depth_ranks", "centres", "velocities", "colours")
    stacked = {name: np.stack([getattr(clip, name) for clip in clips]) for name in names}
    present = np.ones(stacked["depth_ranks"].shape, np.int32)
    return to_video(Batch([clip.key for clip in clips], **stacked, present=present), CPU)


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


def test_no_clip_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="no clip to evaluate"):
        evaluate(Halves(), [], 0, CPU)


def test_json_round_trip_is_exact() -> None:
    result = replace(
        evaluate(Halves(), [sprites(2, objects=1)], 0, CPU), checkpoint="a/b", data="c", split="val"
    )
    assert any(
        curve.mean is None for curve in result.tables["model"].values()
    )  # one object: no pair to order
    assert Evaluation.from_json(result.to_json()) == result


def test_text_shows_every_number_next_to_its_references() -> None:
    result = evaluate(Halves(), [sprites(3, objects=2)], 0, CPU)
    lines = result.text().splitlines()
    row = next(line for line in lines if line.startswith("psnr (dB)"))
    cells = [number(result.mean(c, "psnr")) for c in ("model", "copy-last", "black", "oracle ceiling")]
    assert row.split()[3:7] == cells
    assert any(line.split()[:6] == ["psnr", "of", "frame", "2", "3", "4"] for line in lines)


def test_grid_places_each_checkpoint_and_set() -> None:
    results = [
        replace(evaluate(Halves(), [sprites(2, objects=k)], 0, CPU), checkpoint=name, data=f"set{k}")
        for name in ("one", "two")
        for k in (2, 3)
    ]
    text = grid_text(results).splitlines()
    assert text[0].split() == ["psnr", "K_d=2", "set2", "K_d=3", "set3"]
    assert text[1].startswith("K_m=2 one")
    assert number(results[3].mean("model", "psnr")) in text[2].split()
    assert box_plot(results).startswith(b"\x89PNG")
    clips = [sprites(1, objects=k) for k in (2, 3, 2, 3)]
    cells = [Cell(result, oracle(clip), clip) for result, clip in zip(results, clips, strict=True)]
    picture = objects_grid(cells)
    one = 22 + 67 * 4  # frame numbers, frames, at most three objects
    assert picture.shape == (2 * one, 2 * (80 + 6 * 67), 3)
    assert (picture[one - 67 : one, : 80 + 6 * 67] == 255).all()  # no third object where there are two


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (36.456, "36.46"), (0.12345, "0.123"), (-1.5, "-1.50")]
)
def test_numbers_keep_three_digits_or_so(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_set: str) -> str:
    return save_run(tmp_path_factory.mktemp("evaluate") / "run", tiny_set, steps=(3, 7))


def test_command_scores_the_newest_checkpoint_and_keeps_the_result(
    run: str, tiny_set: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out.json"
    assert main(["evaluate", run, "--split", "val", "--batch", "4", "--json", str(out)]) == 0
    stored = Evaluation.from_json((Path(run) / "evaluation" / "val.json").read_text())
    assert (stored.clips, stored.step, stored.data, stored.split) == (16, 7, tiny_set, "val")
    assert stored.checkpoint == f"{run}/checkpoints/step-00000007"
    assert json.loads(out.read_text()) == [json.loads(stored.to_json())]
    printed = capsys.readouterr().out
    assert stored.text() in printed
    assert "oracle ceiling" in printed
    # The object-discovery model has all else that scores ask for.
    classes = dict.fromkeys(("accuracy", "class_recall", "class_iou"), "views.labels and no truth.labels")
    assert stored.skipped == {"flow_error": "views.flow", "warp_error": "views.flow"} | classes


def test_command_evaluates_the_checkpoint_it_is_given(run: str) -> None:
    assert main(["evaluate", f"{run}/checkpoints/step-00000003", "--split", "test"]) == 0
    stored = Evaluation.from_json((Path(run) / "evaluation" / "test.json").read_text())
    assert (stored.clips, stored.step) == (16, 3)


def test_a_limited_evaluation_leaves_the_full_one_alone(run: str) -> None:
    folder = Path(run) / "evaluation"
    for limit in ("16", "10"):
        assert main(["evaluate", run, "--limit", limit]) == 0
    assert (
        Evaluation.from_json((folder / "val.json").read_text()).clips == 16
    )  # there are no more: that is no limit
    assert Evaluation.from_json((folder / "val-first-10.json").read_text()).clips == 10


def test_runs_may_lie_below_a_folder_that_is_called_checkpoints(tmp_path: Path, tiny_set: str) -> None:
    run = save_run(tmp_path / "checkpoints" / "run", tiny_set)
    assert main(["evaluate", run, "--limit", "1"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
    assert (Path(run) / "evaluation" / "val-first-1.json").exists()


def test_other_sets_of_one_last_folder_are_kept_apart(run: str, tmp_path: Path) -> None:
    names = set()
    for place in ("a", "b"):
        other = str(tmp_path / place / "set")
        build("sprites", Sprites(size=16, frames=4, objects=1), other, {"val": 1}, seed=0)
        assert main(["evaluate", run, "--data", other]) == 0
        (found,) = (Path(run) / "evaluation").glob("set-*-val.json")
        assert Evaluation.from_json(found.read_text()).data == other
        names.add(found.name)
        found.unlink()
    assert len(names) == 2


def test_runs_of_different_sets_have_a_grid_with_gaps(
    run: str, tiny_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(tmp_path / "three")
    build("sprites", Sprites(size=16, frames=5, objects=3), other, {"val": 2}, seed=0)
    second, plot = save_run(tmp_path / "second", other), tmp_path / "plots" / "grid.png"
    assert main(["evaluate", run, second, "--limit", "2", "--plot", str(plot)]) == 0
    grid = capsys.readouterr().out.splitlines()
    start = next(n for n, line in enumerate(grid) if line.startswith("psnr  "))
    assert grid[start].split()[1:] == ["K_d=2", tiny_set, "K_d=3", other]
    assert [line.split()[2:].index("-") for line in grid[start + 1 : start + 3]] == [4, 0]
    with Image.open(plot.with_stem("grid-objects")) as picture:
        shown = np.asarray(picture)
    first = 80 + 4 * 67
    assert shown.shape[1] == first + 80 + 5 * 67
    half = len(shown) // 2
    assert (shown[:half, first:] == 255).all()
    assert (shown[half:, :first] == 255).all()
    assert not (shown[half:, first:] == 255).all()


def test_command_prints_the_grid_of_checkpoints_and_sets(
    run: str, tiny_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = str(tmp_path / "three")
    build("sprites", Sprites(size=16, frames=4, objects=3), other, {"val": 4}, seed=0)
    checkpoints = [f"{run}/checkpoints/step-{step:08d}" for step in (3, 7)]
    plot = tmp_path / "grid.png"
    assert (
        main(["evaluate", *checkpoints, "--data", tiny_set, other, "--limit", "4", "--plot", str(plot)]) == 0
    )
    printed = capsys.readouterr().out
    assert f"K_d=2 {tiny_set}" in printed
    assert f"K_d=3 {other}" in printed
    with Image.open(plot) as picture:
        assert picture.size[0] > 500
    assert len(list((Path(run) / "evaluation").glob("three-*-val.json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "0"], "--limit: got 0, must be at least 1"),
        (["--batch", "0"], "--batch: got 0, must be at least 1"),
        (["--json", "/dev/null/x.json"], "--json: /dev/null is no folder"),
        (["--data", "a", "b", "--plot", "/dev/null/x.png"], "--plot: /dev/null is no folder"),
        (["--split", "holdout"], "split 'holdout' must be one of"),
    ],
)
def test_mistakes_of_the_user_are_named(run: str, arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(["evaluate", run, *arguments])


def test_counts_and_columns() -> None:
    assert [count(v) for v in (None, 3.0, 2.5)] == ["unknown", "3", "2.5"]
    assert aligned([["a", "bb"], ["ccc", "d"]]) == ["a    bb", "ccc   d"]


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
