"""Another paper is one row: its own scores, which are higher where they are better, its own references and figure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from model import MODELS
from model.interface import Video, Views
from tests.saved_run import save_run
from tests.trainer.html import Page, check_page
from trainer.__main__ import main
from trainer.checkpoints.load import load_model
from trainer.evaluation.result import CEILING, COPY_LAST
from trainer.evaluation.scoring import evaluate_on
from trainer.papers import PAPERS
from trainer.papers.paper import Column, Drawing, Figure, Paper, Published, Table
from trainer.pictures.picture import Strip, rgb


def draw(video: Video, networks: Mapping[str, Views], values: Mapping[str, float]) -> Drawing:
    rows = [Strip("shown", "the frames", rgb(video.frames[0]))]
    for name, views in networks.items():
        assert views.visible_masks is None, "only what the figure names"
        rows.append(
            Strip(f"{name}: {values[name]:.1f} dB", "as predicted", rgb(views.prediction[0]), first=2)
        )
    return Drawing(rows)


def run_differences(row: Published, parameters: int, clips: int | None, epochs: float | None) -> list[str]:
    return [] if row.parameters == parameters else [f"{parameters:,} parameters, not {row.parameters:,}"]


TOY = Paper(
    title="Objects in 1 % of the time",
    arxiv="0000.00000",
    models=("object-discovery",),
    headline={"fg_ari_video": "grouping"},
    table=Table(
        heading="Table 7",
        title="All of {frames} frames",
        reading="Higher is better.",
        columns=(
            Column("psnr", "PSNR ↑", "PSNR", decimals=1),
            Column("fg_ari_video", "FG-ARI ↑", decimals=3),
            Column("mse", last=True),
        ),
        published=lambda manifest: {
            "object-discovery": Published("Ours", 7, {"psnr": 31.0 + manifest.objects, "fg_ari_video": 0.9}),
            "copy-last": Published("Still", 0, {"psnr": 20.0}),
        },
        references={CEILING: "true masks and motion", COPY_LAST: "nothing moves"},
        run_differences=run_differences,
        figure=Figure("Figure 9", "Ordered by {measure}.", ("prediction",), draw),
    ),
)


@pytest.fixture(scope="module")
def runs(tiny_set: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("runs")
    return [
        save_run(root / "still", tiny_set, model=MODELS["copy-last"]()),
        save_run(root / "ours", tiny_set),
    ]


def compared(runs: list[str], out: Path, *words: str) -> tuple[dict[str, Any], Page]:
    assert main(["compare", *runs, "--out", str(out), "--clips", "2", *words]) == 0
    return json.loads((out / "compare.json").read_text()), check_page((out / "compare.html").read_text())


def test_its_table_and_figure_are_those_of_its_row(
    runs: list[str], tiny_set: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PAPERS, "toy", TOY)
    tree, page = compared(runs, tmp_path, "--paper", "toy")
    assert [row["name"] for row in tree["networks"]] == ["Ours", "Still"]
    for row, run in zip(tree["networks"], reversed(runs), strict=True):
        loaded = load_model(run)
        whole = evaluate_on(loaded, tiny_set, "test", torch.device("cpu"))
        assert row["scores"]["psnr"] == pytest.approx(whole.mean("model", "psnr"))
        assert row["scores"].get("fg_ari_video") == pytest.approx(whole.mean("model", "fg_ari_video"))
        assert row["scores"]["mse"] == pytest.approx(whole.mean("model", "mse"))
    assert tree["networks"][0]["published"] == {
        "title": "Ours",
        "parameters": 7,
        "psnr": 33.0,
        "fg_ari_video": 0.9,
    }
    assert [row["at_the_papers_scale"] for row in tree["networks"]] == [False, True]
    assert [row["name"] for row in tree["references"]] == [CEILING, COPY_LAST]
    assert (tree["measure"], tree["constant"]) == ("psnr", None)
    words = page.words
    best, other = sorted(tree["networks"], key=lambda row: -row["scores"]["psnr"])
    listed = f"{best['name']} {best['scores']['psnr']:.4f}, {other['name']} {other['scores']['psnr']:.4f}"
    assert tree["found_order"] == f"By PSNR, best first: {listed}."
    agree = "That is the paper's order: Ours, Still." if best["name"] == "Ours" else "0 of 1 pairs agree"
    assert agree in tree["paper_order"]
    headings = {"All of 4 frames", "Table 7", "Figure 9", "PSNR ↑", "FG-ARI ↑"}
    assert headings | {"Higher is better.", "Ordered by PSNR."} <= set(words)
    assert words.count("paper") == 2, "beside each of its two published columns"
    assert {"(33.0)", "(0.900)", "20.0"} <= set(words)
    assert "MSE ↓" not in words
    clips = [word for word in words if " of 16 (clip " in word]
    assert [clip.split(" of ")[0] for clip in clips] == ["Best", "Median"]
    assert sum(str(image["alt"]).startswith("Ours: ") for image in page.named("img")) == 2


def test_it_is_the_one_of_its_models_unless_another_is_named(
    runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PAPERS, "toy", TOY)
    assert "Table 7" in compared(runs, tmp_path / "own")[1].words
    assert "Table 7" not in compared(runs[:1], tmp_path / "none")[1].words, "a model of no paper"
    assert "Figure 5" in compared(runs, tmp_path / "named", "--paper", "video-autoencoder")[1].words
