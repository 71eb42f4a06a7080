"""Models against sets in numbers, boxes and pictures; frames made from one another."""

from dataclasses import replace

import numpy as np
import torch

from model.interface import Views
from tests.trainer.known import Halves, sprites
from trainer.evaluation.references import oracle
from trainer.evaluation.result import number
from trainer.evaluation.scoring import evaluate
from trainer.papers.object_discovery import box_plot, cycle_strips, grid_text, objects_grid
from trainer.papers.paper import Cell
from trainer.pictures.picture import rgb

CPU = torch.device("cpu")


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


def test_frames_far_apart_are_made_from_one_another() -> None:
    video = sprites(1, 1, objects=3, hard_edges=True)
    assert cycle_strips(Views(prediction=video.frames[:, 1:]), video, 1, 4) == []
    rows = cycle_strips(oracle(video), video, 2, 5)
    assert [row.label for row in rows] == ["2 → 5", "5 → 2"]
    for row, target in zip(rows, (5, 2), strict=True):
        assert len(row.pictures) == 6
        made, true = (p.astype(int) for p in row.pictures[-2:])
        np.testing.assert_array_equal(true, rgb(video.frames[0, target - 1 : target])[0])
        wrong = rgb(video.frames[0, 7 - target - 1 : 7 - target])[0]
        assert np.abs(made - true).mean() < 0.3 * np.abs(made - wrong).mean()
