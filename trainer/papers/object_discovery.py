"""Object discovery by prediction (arXiv 2103.05669): its K_m x K_d grid (figures 3 and 5) and cycles (figure 6)."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model.interface import Video, Views
from trainer.evaluation.result import COPY_LAST, MODEL, Evaluation, aligned, count, number
from trainer.papers.paper import Cell, Extra, Grid, Paper
from trainer.pictures.picture import PALETTE, Picture, Strip, png, rgb, sheet, tinted
from trainer.pictures.plots import COLOURS
from trainer.scores import LAYERS
from trainer.scores.consistency import over_gap
from trainer.strips import strips
from trainer.strips.slots import OBJECT

MEASURES = {"psnr": "PSNR (dB)", "ssim": "SSIM"}  # of the grid and its box plot


def grid(cells: Sequence[Cell]) -> Grid:
    """K_m x K_d: numbers, their box plot, and the objects found in a clip of each set by each model."""
    results = [cell.result for cell in cells]
    return Grid(
        grid_text(results),
        [("box plot", "", box_plot(results)), ("found objects", "-objects", png(objects_grid(cells)))],
    )


def grid_text(results: Sequence[Evaluation]) -> str:
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
    for name in MEASURES:
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
    return f"{number(curve.mean)} {spread} ({number(result.mean(COPY_LAST, score))})"


def objects_grid(cells: Sequence[Cell]) -> Picture:
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
    kept = [s for s in shown if s.kind == OBJECT] or shown[1:2]
    return sheet([shown[0], *kept], cell.video.frames.shape[1], size=64, margin=80)


def _padded(pictures: list[Picture]) -> list[Picture]:
    """The pictures with white added below, so that they are of one height."""
    height = max(len(picture) for picture in pictures)
    return [
        np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0)), constant_values=255)
        for picture in pictures
    ]


def box_plot(results: Sequence[Evaluation]) -> bytes:
    """Figure 3 as PNG: for each K_m and K_d the spread of the per-frame means over time; dotted is copy-last."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    models = list(dict.fromkeys(r.checkpoint for r in results))
    sets = list(dict.fromkeys((r.data, r.split) for r in results))
    slots = [next(r.slots for r in results if r.checkpoint == m) for m in models]
    for axes, (score, title) in zip(figure.subplots(1, len(MEASURES)), MEASURES.items(), strict=True):
        for result in results:
            which = sets.index((result.data, result.split))
            middle = models.index(result.checkpoint) + 0.8 * (which + 0.5) / len(sets) - 0.4
            _box(axes, result, score, middle, 0.6 / len(sets), COLOURS[which % len(COLOURS)])
        axes.set_xticks(range(len(models)), [f"$K_m$ = {k}" for k in slots])
        axes.set_xlim(-0.5, len(models) - 0.5)
        axes.set_ylabel(title)
        axes.grid(axis="y", alpha=0.3)
    objects = [next(r.objects for r in results if (r.data, r.split) == s) for s in sets]
    handles = [figure.axes[0].fill([], [], color=COLOURS[i % len(COLOURS)])[0] for i in range(len(sets))]
    labels = [f"$K_d$ = {count(n)}" for n in objects]
    figure.legend(handles, labels, loc="outside upper center", ncols=len(sets))
    FigureCanvasAgg(figure)
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=130)
        return file.getvalue()


def _box(axes: Any, result: Evaluation, score: str, middle: float, width: float, colour: str) -> None:
    """One model on one set; nothing where it has not the score."""
    curve = result.tables[MODEL].get(score)
    if curve is None:
        return
    box = axes.boxplot(
        [[m for m in curve.means if m is not None]],
        positions=[middle],
        widths=width,
        patch_artist=True,
        manage_ticks=False,
        medianprops={"color": "black"},
    )
    box["boxes"][0].set_facecolor(colour)
    if (still := result.mean(COPY_LAST, score)) is not None:
        axes.axhline(still, color=colour, linestyle=":", linewidth=1)


def far_strips(views: Views, video: Video) -> list[Strip]:
    """Figure 6 for two frames well apart, as the loss draws them."""
    if views.amodal_masks is None:
        return []
    steps = views.amodal_masks.shape[1]
    t1, t2 = 1 + steps // 5, steps - steps // 5
    return cycle_strips(views, video, t1, t2) if t2 - t1 >= 2 else []


def cycle_strips(views: Views, video: Video, t1: int, t2: int) -> list[Strip]:
    """Figure 6: the frame at t2 made from the objects found at t1, and the other way round.

    Each row: the frame started from, its masks, what they become, the true frame there. Empty where the model
    lacks masks, memories, order, motion or background. Frames count from 1, both among the decomposed.
    """
    masks = views.amodal_masks
    if masks is None or any(getattr(views, name) is None for name in LAYERS):
        return []
    rows = []
    for origin, target in ((t1, t2), (t2, t1)):
        forward = target > origin
        made = over_gap(views, t2 - t1, "forward" if forward else "backward")[0]
        first = t2 - t1 + 1 if forward else 1  # number of the first composed frame
        there = made[target - first : target - first + 1]
        pictures = rgb(video.frames[0, origin - 1 : origin])
        for k, mask in enumerate(masks[0, origin - 1]):
            pictures += tinted(mask[None], PALETTE[k % len(PALETTE)])
        pictures += rgb(there) + rgb(video.frames[0, target - 1 : target])
        about = f"frame {origin}, its masks, frame {target} made of them, the true frame {target}"
        rows.append(Strip(f"{origin} → {target}", about, pictures))
    return rows


OBJECT_DISCOVERY = Paper(
    title="Self-Supervision by Prediction for Object Discovery in Videos",
    arxiv="2103.05669",
    models=("object-discovery",),
    headline={
        "psnr": "PSNR",
        "ssim": "SSIM",
        "fg_ari_video": "FG-ARI",
        "amodal_iou": "amodal IoU",
        "motion_error": "motion error",
    },
    extra=Extra("cycle", "Far frames made from one another", far_strips),
    grid=grid,
)
