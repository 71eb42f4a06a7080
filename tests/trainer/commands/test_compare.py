import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from data_shards.exits import exit_code
from data_shards.sources.moving_mnist import MovingMnist
from data_shards.writer import build
from model.interface import Video, Views
from model.video_autoencoder.autoencoder import Autoencoder
from model.video_autoencoder.convolutional import AEConv
from model.video_autoencoder.flow import AEConvLSTMFlow
from model.video_autoencoder.recurrent import AEConvLSTM, AEFcLSTM
from tests.saved_run import save_run
from tests.trainer.html import Page, check_page
from trainer.__main__ import main
from trainer.checkpoints.load import load_model
from trainer.commands import compare as command

SOURCE = MovingMnist(size=16, frames=5)
COUNTS = {"train": 12, "val": 0, "test": 9}
SMALL: dict[str, Autoencoder] = {
    "ae-conv": AEConv(kernel=3, filters=2, inputs=4, hidden=3, output_bias=-3.0),
    "ae-fclstm": AEFcLSTM(kernel=3, filters=2, hidden=4, size=16, deep_filters=2),
    "ae-convlstm": AEConvLSTM(kernel=3, filters=2, hidden=2, output_bias=-1.0),
    "ae-convlstm-flow": AEConvLSTMFlow(kernel=3, filters=2, hidden=2),
}
TITLES = ["AE-Conv", "AE-fcLSTM", "AE-ConvLSTM", "AE-ConvLSTM-flow"]


def last_frames(split: str, count: int) -> tuple[Tensor, Tensor]:
    """All frames of a split's first clips, straight from the source, and the last ones."""
    clips = [SOURCE.clip(split, i, seed=0).frames for i in range(count)]
    frames = torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3).float() / 255
    return frames, frames[:, -1].double()


def entropy(q: float, p: float) -> float:
    return -(q * math.log(p) + (1 - q) * math.log(1 - p))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("digits") / "set")
    build("moving-mnist", SOURCE, url, COUNTS, seed=0)
    return url


@pytest.fixture(scope="module")
def runs(digits: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("runs")
    found = {name: save_run(root / name, digits, model=model) for name, model in SMALL.items()}
    lines = [
        {"step": 3, "loss": 1.0, "step_s": 2.0, "epoch": 8.0},
        {"step": 3, "split": "val", "scores": {}},
        {"step": 7, "loss": 1.0, "step_s": 0.5, "epoch": 56 / 3},
        {"step": 9, "loss": 1.0, "step_s": 100.0, "epoch": 24.0},  # after the checkpoint
    ]
    (root / "ae-conv" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return found


@pytest.fixture(scope="module")
def made(runs: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Page]:
    out = tmp_path_factory.mktemp("out")
    given = [*reversed(runs.values()), "--out", str(out), "--clips", "3", "--batch", "4"]
    assert main(["compare", *given]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["compare.html", "compare.json"]
    return json.loads((out / "compare.json").read_text()), check_page((out / "compare.html").read_text())


def test_networks_are_scored_on_the_last_frame_of_every_clip(
    made: tuple[dict[str, Any], Page], runs: dict[str, str]
) -> None:
    frames, target = last_frames("test", 9)
    rows = made[0]["networks"]
    assert [row["kind"] for row in rows] == list(SMALL)
    assert made[0]["clips"] == 9
    for row in rows:
        model = load_model(runs[row["kind"]]).model
        with torch.no_grad():
            prediction = model(Video(frames), 7).views.prediction[:, -1].double()
        squared = (prediction - target).square().mean(dim=(1, 2, 3))
        scores = row["scores"]
        assert scores["bce"] == pytest.approx(F.binary_cross_entropy(prediction, target).item(), rel=1e-6)
        assert scores["bce_frame"] == pytest.approx(256 * scores["bce"])
        assert scores["mse"] == pytest.approx(squared.mean().item(), rel=1e-6)
        assert scores["l1"] == pytest.approx((prediction - target).abs().mean().item(), rel=1e-6)
        assert scores["psnr"] == pytest.approx((-10 * squared.log10()).mean().item(), rel=1e-6)
        assert row["parameters"] == sum(p.numel() for p in model.parameters())
        assert not row["at_the_papers_scale"]


def test_constant_rows_are_what_the_pixels_say(made: tuple[dict[str, Any], Page]) -> None:
    rows = {row["name"]: row["scores"] for row in made[0]["references"]}
    frames, target = last_frames("test", 9)
    p, q = last_frames("train", 12)[1].mean().item(), target.mean().item()
    assert made[0]["constant"] == pytest.approx([p])
    assert rows["constant"]["bce"] == pytest.approx(entropy(q, p), rel=1e-6)
    assert rows["constant"]["l1"] == pytest.approx(q * (1 - p) + (1 - q) * p, rel=1e-6)
    assert rows["black"]["l1"] == pytest.approx(q)
    assert rows["black"]["mse"] == pytest.approx(q)
    changed = (frames[:, -1] - frames[:, -2]).abs().mean().item()
    assert rows["copy-last"]["mse"] == pytest.approx(changed)
    assert rows["copy-last"]["bce"] == pytest.approx(changed * 12 * math.log(10))


def test_the_constant_on_its_own_clips_has_their_entropy(runs: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert main(["compare", runs["ae-conv"], "--split", "train", "--out", str(out)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "page.json"]
    tree = json.loads((tmp_path / "page.json").read_text())
    p = last_frames("train", 12)[1].mean().item()
    (row,) = (row for row in tree["references"] if row["name"] == "constant")
    assert row["scores"]["bce"] == pytest.approx(entropy(p, p), rel=1e-6)


def test_training_is_read_from_the_journal_up_to_the_checkpoint(made: tuple[dict[str, Any], Page]) -> None:
    rows = {row["kind"]: row["training"] for row in made[0]["networks"]}
    seconds = 3 * 2.0 + 4 * 0.5
    assert rows["ae-conv"] == {
        "updates": 7, "batch": 32, "epochs": pytest.approx(56 / 3), "clips": 12, "seconds": seconds,
    }  # fmt: skip
    assert rows["ae-fclstm"]["seconds"] is None  # its journal has no times


def test_the_page_tells_and_shows_it(made: tuple[dict[str, Any], Page]) -> None:
    tree, page = made
    words = " ".join(page.words)
    assert tree["found_order"] in words
    assert tree["paper_order"] in words
    places = [page.words.index(name) for name in (*TITLES, "copy-last", "black")]
    assert places == sorted(places)
    for needed in (
        "(0.0197)",
        "frames of 16 x 16 pixels, not 64 x 64",
        "trained on 12 clips, not 10,000",
        "8 s",
    ):
        assert needed in words, needed
    bce = tree["networks"][2]["scores"]["bce"]
    assert f"{bce:.4f}" in page.words
    alts = [str(image["alt"]) for image in page.named("img")]
    for start in (
        "seen: ",
        "true frame",
        "true flow",
        "flow of AE-ConvLSTM-flow",
        *(f"{t} 0." for t in TITLES),
    ):
        assert sum(alt.startswith(start) for alt in alts) == 3, start
    assert sum(alt.startswith("Colours of flow") for alt in alts) == 1
    assert {"Best of 9", "Worst of 9"} <= {word.split(" (")[0] for word in page.words}


def test_clips_go_from_best_to_worst_and_captions_are_their_scores(
    made: tuple[dict[str, Any], Page], runs: dict[str, str]
) -> None:
    frames, target = last_frames("test", 9)
    values = []
    for kind in SMALL:
        with torch.no_grad():
            guess = load_model(runs[kind]).model(Video(frames), 7).views.prediction[:, -1].double()
        values.append(F.binary_cross_entropy(guess, target, reduction="none").mean(dim=(1, 2, 3)))
    order = torch.stack(values).mean(0).argsort(stable=True).tolist()
    heads = [word for word in made[1].words if " of 9 (clip " in word]
    assert [int(head.split("(clip ")[1].split()[0]) for head in heads] == [order[0], order[4], order[8]]
    captions = [word for word in made[1].words if word.startswith("AE-fcLSTM 0.")]
    assert captions == [f"AE-fcLSTM {values[1][order[i]]:.4f}" for i in (0, 4, 8)]


def test_a_limit_scores_and_shows_the_first_clips(runs: dict[str, str], tmp_path: Path) -> None:
    assert main(["compare", runs["ae-conv"], "--limit", "5", "--clips", "1", "--out", str(tmp_path)]) == 0
    tree = json.loads((tmp_path / "compare.json").read_text())
    target = last_frames("test", 5)[1]
    assert tree["clips"] == 5
    assert tree["references"][-1]["scores"]["l1"] == pytest.approx(target.mean().item())
    assert "Best of 5" in (tmp_path / "compare.html").read_text()


def test_a_fixed_test_array_is_read_beside_the_runs_own_training_clips(
    runs: dict[str, str], tmp_path: Path
) -> None:
    array = np.zeros((5, 3, 16, 16), np.uint8)
    array[:, :, :4] = 255
    np.save(tmp_path / "test.npy", array)
    source = replace(SOURCE, sequences=str(tmp_path / "test.npy"))
    build("moving-mnist", source, str(tmp_path / "fixed"), {"test": 3}, seed=0)
    given = [*runs.values(), "--data", str(tmp_path / "fixed"), "--out", str(tmp_path / "out")]
    assert main(["compare", *given]) == 0
    tree = json.loads((tmp_path / "out" / "compare.json").read_text())
    p = last_frames("train", 12)[1].mean().item()
    rows = {row["name"]: row["scores"] for row in tree["references"]}
    assert rows["constant"]["bce"] == pytest.approx(entropy(0.25, p), rel=1e-6)
    assert rows["copy-last"]["mse"] == 0
    assert "true flow" not in (tmp_path / "out" / "compare.html").read_text()


def test_squared_errors_order_networks_that_learnt_them(
    digits: str, runs: dict[str, str], tmp_path: Path
) -> None:
    real = save_run(tmp_path / "real", digits, model=replace(SMALL["ae-conv"], data="real"))
    assert main(["compare", real, runs["ae-convlstm"], "--out", str(tmp_path / "out")]) == 0
    tree = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert (tree["measure"], tree["paper_order"]) == ("mse", "")
    page = check_page((tmp_path / "out" / "compare.html").read_text())
    assert "cross-entropy ↓" not in page.words
    assert "The paper's numbers" not in " ".join(page.words)


def test_mistakes_are_one_sentence_and_leave_nothing(
    digits: str, runs: dict[str, str], tiny_set: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, conv = tmp_path / "out", runs["ae-conv"]
    (tmp_path / "empty").mkdir()
    elsewhere = save_run(tmp_path / "elsewhere", tiny_set)
    small: Any = SMALL["ae-fclstm"]
    large = save_run(tmp_path / "large", digits, model=replace(small, size=32))
    for given, words in (
        ([conv, elsewhere], f"different data sets ({digits}, {tiny_set}): say with --data which"),
        ([conv, large], "frames are 16 x 16 pixels, the model takes 32 x 32"),
        ([conv, "--data", tiny_set], "clips have 4 frames, the model needs 5 or more"),
        ([runs["ae-convlstm"], "--data", tiny_set], "frames have 3 channels, the model takes 1"),
        ([str(tmp_path / "empty")], "no complete checkpoint there"),
        ([conv, conv], "step-00000007 is given twice"),
        ([conv, "--split", "holdout"], "split 'holdout' must be one of train, test"),
        ([conv, "--split", "val"], "split 'val' must be one of train, test"),
        ([conv, "--paper", "nobody"], "--paper: got 'nobody', must be one of video-autoencoder"),
        ([conv, "--paper", "object-discovery"], "--paper: got 'object-discovery', must be one of video-auto"),
        ([conv, "--clips", "0"], "--clips: got 0, must be at least 1"),
        ([conv, "--limit", "0"], "--limit: got 0, must be at least 1"),
        ([conv, "--data", str(tmp_path / "nowhere")], "no data set here"),
    ):
        code = exit_code(partial(main, ["compare", *given, "--out", str(out)]))
        told = capsys.readouterr().err
        assert (code, told.count("\n")) == (2, 1), (given, told)
        assert words in told, given
        assert not out.exists()
    (tmp_path / "file").write_text("")
    for place in ("file", "file/page.html", "file/sub"):
        with pytest.raises(ValueError, match=r"--out: .*/file is no folder"):
            main(["compare", str(tmp_path / "empty"), "--out", str(tmp_path / place)])


def test_a_run_may_lie_below_a_folder_that_is_called_checkpoints(digits: str, tmp_path: Path) -> None:
    run = save_run(tmp_path / "checkpoints" / "run", digits, model=SMALL["ae-conv"])
    line = {"step": 7, "loss": 1.0, "step_s": 0.5, "epoch": 2.0}
    (Path(run) / "metrics.jsonl").write_text(json.dumps(line))
    assert main(["compare", run, "--out", str(tmp_path / "out"), "--limit", "2"]) == 0
    tree = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert tree["networks"][0]["training"]["seconds"] == 3.5


def test_a_model_without_a_prediction_is_named(
    runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load: Callable[[str], Any] = load_model

    def blind(url: str) -> Any:
        loaded = load(url)
        forward = loaded.model.forward
        loaded.model.forward = lambda video, step: forward(video, step)._replace(show=Views)
        return loaded

    monkeypatch.setattr(command, "load_model", blind)
    with pytest.raises(
        ValueError, match="step-00000007: its model, ae-conv, predicts no frames; compare runs"
    ):
        main(["compare", runs["ae-conv"], "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ("a/b", ("a/b", "compare")),
        ("a/b.html", ("a", "b")),
        ("b.html", (".", "b")),
        ("/b.html", ("/", "b")),
        ("s3://bucket/x/y.html", ("s3://bucket/x", "y")),
    ],
)
def test_where_the_page_goes(out: str, expected: tuple[str, str]) -> None:
    assert command.folder_and_name(out) == expected
