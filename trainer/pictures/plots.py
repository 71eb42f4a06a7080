"""Plots through matplotlib's own canvases; numbers in, SVG text out, no global state."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Each readable on white and on black.
COLOURS = ("#3f8ae0", "#e0663f", "#3fae6a", "#a06ae0", "#c9962c", "#d65b96", "#1f9aa3", "#8a8f98")

INK = "#010203"  # stands for the colour of the text around the picture, until the SVG is written

Points = tuple[Sequence[float], Sequence[float]]  # x and y


def line_chart(title: str, lines: Mapping[str, Points], x_label: str, *, whole: bool = False) -> str:
    """An SVG element with one line per entry, in the page's text colour on a transparent ground.

    Args:
        title: above the chart.
        lines: name -> (x, y); a line of one point is drawn as a dot. Names make the legend when there are several.
        x_label: below it.
        whole: x counts things (frames): no fractions on the axis.
    """
    with styled(title):
        figure = Figure(figsize=(3.6, 2.5), layout="constrained")
        axes = figure.subplots()
        for i, (name, (x, y)) in enumerate(lines.items()):
            marks = "o-" if len(x) < 20 else "-"
            axes.plot(x, y, marks, color=COLOURS[i % len(COLOURS)], label=name, ms=3.5, lw=1.6)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=whole))
        axes.grid(axis="y", color=INK, alpha=0.15)
        if len(lines) > 1:
            figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8, labelcolor=INK)
        return drawn(figure)


@contextmanager
def styled(name: str) -> Iterator[None]:
    """Within the context, figures have the page's look; the same name and content make the same SVG."""
    style = {
        "svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9, "font.family": "sans-serif",
        "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.formatter.useoffset": False,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        yield


def drawn(figure: Figure) -> str:
    """The figure as an SVG element, in the page's text colour where it has that of INK."""
    FigureCanvasSVG(figure)
    with io.StringIO() as file:
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        text = file.getvalue()
    drawing = text[text.index("<svg") :].replace(INK, "currentColor")
    # The page sets the size, and already has what these blocks say. Names are the same in every drawing, and nothing
    # refers to them.
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    return re.sub(r' (width|height)="[\d.]+pt"', "", drawing, count=2)
