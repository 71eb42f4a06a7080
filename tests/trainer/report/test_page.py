"""The page of a run, from known numbers."""

import numpy as np
import pytest

from tests.trainer.html import Page, check_page
from trainer.evaluation.result import Curve, Evaluation
from trainer.pictures.picture import Strip
from trainer.report.clips import Shown
from trainer.report.page import build_page, summary, training


def test_page_escapes_what_comes_from_outside() -> None:
    evil = "<script>alert(1)</script>"
    shown = [
        Shown(
            evil, evil, 1.0, 1, 1, [Strip("frames", evil, [np.zeros((4, 4, 3), np.uint8)], place="film")], []
        )
    ]
    page = check_page(build_page(evaluation(), shown, {"model": evil}, [], evil))
    assert evil in " ".join(page.words)


@pytest.mark.parametrize("lines", [[], [{"step": 1, "time": 0.0, "loss": 2.0, "terms": {}}]])
def test_few_lines_are_enough(lines: list[dict[str, object]]) -> None:
    page = Page(training(lines, ("psnr",)))
    assert len(page.named("svg")) == len(lines)


def test_training_shows_the_loss_its_terms_and_the_main_scores() -> None:
    lines = [{"step": s, "loss": 1.0, "terms": {"a": 0.5}} for s in range(3)]
    scores = {"psnr": 20.0, "memory_psnr": 3.0}
    page = Page(training([*lines, {"step": 3, "split": "val", "scores": scores}], ("psnr",)))
    labels = [str(a["aria-label"]) for a in page.named("div") if "aria-label" in a]
    assert [label.split(" over")[0] for label in labels] == ["loss", "a", "val psnr"]


@pytest.mark.parametrize(("ours", "words"), [(20.0, "1.5 dB above"), (17.5, "1.0 dB below")])
def test_summary_says_which_way_it_went(ours: float, words: str) -> None:
    assert f"{ours:.1f} dB, {words} copying the last one (the ceiling is 30.0 dB)" in summary(
        evaluation(ours)
    )


def test_the_wheel_stands_on_pages_that_show_flow() -> None:
    row = [np.zeros((4, 4, 3), np.uint8)]
    for label, wheels in (("flow", 1), ("prediction", 0)):
        rows = [Strip("frames", "", row, place="film"), Strip(label, "", row)]
        shown = [Shown("a", "Best", 1.0, 1, 0, rows, []), Shown("b", "Worst", 1.0, 1, 0, rows, [])]
        page = check_page(build_page(evaluation(), shown, {}, [], ""))
        assert (
            sum(str(a["alt"]).startswith("Colours of flow: to the right is red") for a in page.named("img"))
            == wheels
        )


def evaluation(ours: float = 20.0) -> Evaluation:
    means = {"model": ours, "copy-last": 18.5, "oracle ceiling": 30.0}
    tables = {name: {"psnr": Curve(2, mean, (mean,), (1,))} for name, mean in means.items()}
    return Evaluation(step=1, clips=1, slots=1, objects=None, tables=tables, skipped={})
