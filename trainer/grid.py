"""The K_m x K_d grid: several checkpoints on several data sets (figures 3 and 5 of arXiv 2103.05669)."""

from dataclasses import dataclass

import numpy as np

from model.interface import Video, Views
from trainer.evaluation import MODEL, Evaluation, aligned, count, number
from trainer.pictures import Picture, sheet
from trainer.strips import strips


@dataclass(frozen=True)
class Cell:
    """One model on one set: its scores, and what it sees in one clip (views and video of a batch of one)."""

    result: Evaluation
    views: Views
    video: Video


def grid_text(results: list[Evaluation]) -> str:
    """K_m x K_d: a row for each checkpoint, a column for each data set; PSNR and SSIM with their range over time.

    A cell reads mean [least, most] of the per-frame means, then copy-last in round brackets.
    """
    checkpoints = list(dict.fromkeys(r.checkpoint for r in results))
    sets = list(dict.fromkeys((r.data, r.split) for r in results))
    cells = {(r.checkpoint, (r.data, r.split)): r for r in results}
    lines = []
    for name in ("psnr", "ssim"):
        rows = [[name, *(f"K_d={count(cells[checkpoints[0], s].objects)} {s[0]}" for s in sets)]]
        for checkpoint in checkpoints:
            row = [cells[checkpoint, s] for s in sets]
            rows.append([f"K_m={row[0].slots} {checkpoint}", *(_range(result, name) for result in row)])
        lines += [*aligned(rows), ""]
    return "\n".join(lines).rstrip()


def _range(result: Evaluation, score: str) -> str:
    curve = result.tables[MODEL].get(score)
    means = [m for m in curve.means if m is not None] if curve else []
    if curve is None or not means:
        return "-"
    spread = f"[{number(min(means))}, {number(max(means))}]"
    return f"{number(curve.mean)} {spread} ({number(result.mean('copy-last', score))})"


def objects_grid(cells: list[Cell]) -> Picture:
    """Figure 5: a row for each checkpoint, a column for each set; frames and the objects found in a clip."""
    checkpoints = list(dict.fromkeys(cell.result.checkpoint for cell in cells))
    blocks = []
    for checkpoint in checkpoints:
        row = []
        for cell in (c for c in cells if c.result.checkpoint == checkpoint):
            shown = strips(cell.views, cell.video)
            kept = [s for s in shown if s.label.startswith("object ")] or shown[1:2]
            row.append(sheet([shown[0], *kept], cell.video.frames.shape[1], size=64, margin=80))
        blocks.append(np.concatenate(_padded(row, axis=0), axis=1))
    return np.concatenate(_padded(blocks, axis=1), axis=0)


def _padded(pictures: list[Picture], axis: int) -> list[Picture]:
    """The pictures with white added at the end of `axis`, so that they are of one size there."""
    most = max(picture.shape[axis] for picture in pictures)
    result = []
    for picture in pictures:
        missing = [(0, 0)] * 3
        missing[axis] = (0, most - picture.shape[axis])
        result.append(np.pad(picture, missing, constant_values=255))
    return result
