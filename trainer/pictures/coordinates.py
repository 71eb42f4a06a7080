"""Parallel coordinates: one axis for each of several values, one line for each thing that has them."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from trainer.pictures.plots import INK, drawn, styled

_MARGIN = 0.08  # of an axis, beyond its first and last mark
_DARKEST, _BRIGHTEST = 0.25, 0.85  # of the colours: the rest is lost on a black page or on a white one
_WIDTH = 7.5  # inches, at least: in a narrower figure the page makes the letters large


@dataclass(frozen=True)
class Axis:
    """One of the axes: its name, and where it has marks, from 0 at the bottom to 1, with what they say."""

    name: str
    marks: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Line:
    """One line: its place on each axis from 0 to 1, None = on none; its shade from 0 to 1, None = grey."""

    name: str
    places: Sequence[float | None]
    shade: float | None


def parallel_coordinates(axes: Sequence[Axis], lines: Sequence[Line]) -> str:
    """An SVG element in the page's text colour, the lines of the highest shades on top.

    Args:
        axes: from left to right, two or more.
        lines: with as many places each.
    """
    with styled("parallel coordinates"):
        figure = Figure(figsize=(max(1.6 + 1.5 * len(axes), _WIDTH), 3.4), layout="constrained")
        plot = figure.subplots()
        shades = matplotlib.colormaps["plasma"]
        for line in sorted(lines, key=lambda each: -1.0 if each.shade is None else each.shade):
            there = [(x, y) for x, y in enumerate(line.places) if y is not None]
            grey = line.shade is None
            shade = _DARKEST + (_BRIGHTEST - _DARKEST) * (line.shade or 0.0)
            colour = "#8a8f98" if grey else shades(shade)
            plot.plot(
                *zip(*there, strict=True),
                color=colour,
                lw=1 if grey else 1.6,
                ls=":" if grey else "-",
                marker="o",
                ms=3,
                alpha=0.9,
            )
        for x, axis in enumerate(axes):
            plot.axvline(x, color=INK, lw=0.8, alpha=0.5)
            for place, said in axis.marks:
                plot.annotate(said, (x, place), (4, 3), textcoords="offset points", fontsize=7.5)
        plot.set_xticks(range(len(axes)), [axis.name for axis in axes])
        plot.set_xlim(-0.1, len(axes) - 0.5)
        plot.set_ylim(-_MARGIN, 1 + _MARGIN)
        plot.set_yticks([])
        plot.tick_params(axis="x", length=0)
        for side in ("left", "bottom"):
            plot.spines[side].set_visible(False)
        return drawn(figure)
