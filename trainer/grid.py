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

    A cell reads mean [least, most] of the per-frame means, then copy-last in round brackets; a dash where a checkpoint
    was not scored on a set.
    """
    checkpoints = list(dict.fromkeys(r.checkpoint for r in results))
    sets = list(dict.fromkeys((r.data, r.split) for r in results))
    cells = {(r.checkpoint, (r.data, r.split)): r for r in results}
    objects = {(r.data, r.split): count(r.objects) for r in results}
    slots = {r.checkpoint: r.slots for r in results}
    lines = []
    for name in ("psnr", "ssim"):
        rows = [[name, *(f"K_d={objects[s]} {s[0]}" for s in sets)]]
        for checkpoint in checkpoints:
            row = [_range(cells.get((checkpoint, s)), name) for s in sets]
            rows.append([f"K_m={slots[checkpoint]} {checkpoint}", *row])
        lines += [*aligned(rows), ""]
    return "\n".join(lines).rstrip()


def _range(result: Evaluation | None, score: str) -> str:
    curve = None if result is None else result.tables[MODEL].get(score)
    means = [m for m in curve.means if m is not None] if curve else []
    if result is None or curve is None or not means:
        return "-"
    spread = f"[{number(min(means))}, {number(max(means))}]"
    return f"{number(curve.mean)} {spread} ({number(result.mean('copy-last', score))})"


def objects_grid(cells: list[Cell]) -> Picture:
    """Figure 5: a row for each checkpoint, a column for each set; frames and the objects found in a clip.

    White where there is no cell.
    """
    checkpoints = list(dict.fromkeys(cell.result.checkpoint for cell in cells))
    sets = list(dict.fromkeys((cell.result.data, cell.result.split) for cell in cells))
    found = {(c.result.checkpoint, (c.result.data, c.result.split)): _found(c) for c in cells}
    widths = {place: picture.shape[1] for (_, place), picture in found.items()}
    blocks = []
    for checkpoint in checkpoints:
        row = [found.get((checkpoint, s), np.zeros((0, widths[s], 3), np.uint8)) for s in sets]
        blocks.append(np.concatenate(_padded(row), axis=1))
    return np.concatenate(blocks, axis=0)


def _found(cell: Cell) -> Picture:
    shown = strips(cell.views, cell.video)
    kept = [s for s in shown if s.label.startswith("object ")] or shown[1:2]
    return sheet([shown[0], *kept], cell.video.frames.shape[1], size=64, margin=80)


def _padded(pictures: list[Picture]) -> list[Picture]:
    """The pictures with white added below, so that they are of one height."""
    height = max(len(picture) for picture in pictures)
    return [
        np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0)), constant_values=255)
        for picture in pictures
    ]
