"""What an evaluation says: JSON, text, and how numbers are written."""

from dataclasses import replace

import pytest
import torch

from tests.trainer.known import Halves, sprites
from trainer.evaluation.result import Evaluation, aligned, count, number
from trainer.evaluation.scoring import evaluate

CPU = torch.device("cpu")


def test_json_round_trip_is_exact() -> None:
    result = replace(
        evaluate(Halves(), [sprites(2, objects=1)], 0, CPU), checkpoint="a/b", data="c", split="val"
    )
    # One object: no pair to order.
    assert any(curve.mean is None for curve in result.tables["model"].values())
    assert Evaluation.from_json(result.to_json()) == result


def test_text_shows_every_number_next_to_its_references() -> None:
    result = evaluate(Halves(), [sprites(3, objects=2)], 0, CPU)
    lines = result.text().splitlines()
    row = next(line for line in lines if line.startswith("psnr (dB)"))
    cells = [number(result.mean(c, "psnr")) for c in ("model", "copy-last", "black", "oracle ceiling")]
    assert row.split()[3:7] == cells
    assert any(line.split()[:6] == ["psnr", "of", "frame", "2", "3", "4"] for line in lines)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (36.456, "36.46"), (0.12345, "0.123"), (-1.5, "-1.50")]
)
def test_numbers_keep_three_digits_or_so(value: float | None, text: str) -> None:
    assert number(value) == text


def test_counts_and_columns() -> None:
    assert [count(v) for v in (None, 3.0, 2.5)] == ["unknown", "3", "2.5"]
    assert aligned([["a", "bb"], ["ccc", "d"]]) == ["a    bb", "ccc   d"]
