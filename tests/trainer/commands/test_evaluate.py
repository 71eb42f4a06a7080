"""The command: what it scores, prints and leaves beside the run; the grid of several."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_shards.sources.sprites import Sprites
from data_shards.writer import build
from tests.saved_run import save_run
from trainer.__main__ import main
from trainer.evaluation.result import Evaluation


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
    assert list(stored.tables) == [
        "model", "untrained", "copy-last", "black", "oracle ceiling", "stripes", "components", "k-means",
    ]  # fmt: skip
    assert set(stored.tables["k-means"]) == {"fg_ari_video", "fg_ari_frame", "ari_video", "ari_frame"}
    assert "components: what hangs together of the pixels that truly belong to objects" in printed
    # The object-discovery model has all else that scores ask for, and sprites.
    classes = dict.fromkeys(("accuracy", "class_recall", "class_iou"), "views.labels and no truth.labels")
    tracks = ("mota", "idf1", "hota", "id_switches", "switches_apart", "switches_across", "rediscovered")
    counts = {"count_accuracy": "views.presence", "discovered_later": "views.identities"}
    boxes = dict.fromkeys(tracks, "truth.boxes") | {"box_iou": "views.boxes and no truth.boxes"}
    flow = dict.fromkeys(("flow_error", "warp_error"), "views.flow")
    iterations = {"explained_mse": "views.refinements.frames"}
    assert stored.skipped == flow | classes | counts | boxes | iterations


def test_command_evaluates_the_checkpoint_it_is_given(run: str) -> None:
    assert main(["evaluate", f"{run}/checkpoints/step-00000003", "--split", "test"]) == 0
    stored = Evaluation.from_json((Path(run) / "evaluation" / "test.json").read_text())
    assert (stored.clips, stored.step) == (16, 3)


def test_a_limited_evaluation_leaves_the_full_one_alone(run: str) -> None:
    folder = Path(run) / "evaluation"
    for limit in ("16", "10"):
        assert main(["evaluate", run, "--limit", limit]) == 0
    # There are no more: that is no limit.
    assert Evaluation.from_json((folder / "val.json").read_text()).clips == 16
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
