"""Line and box plots through matplotlib's own canvases; numbers in, PNG bytes or SVG text out, no global state."""

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainer.evaluation import MODEL, Evaluation, count

COLOURS = ("#3f8ae0", "#e0663f", "#3fae6a", "#a06ae0", "#c9962c")  # each readable on white and on black
INK = "#010203"  # stands for the colour of the text around the picture, until the SVG is written

Points = tuple[Sequence[float], Sequence[float]]  # x and y


def box_plot(results: list[Evaluation]) -> bytes:
    """Figure 3 of arXiv 2103.05669 as PNG: for each K_m and K_d the spread of the per-frame means over time."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    models = list(dict.fromkeys(r.checkpoint for r in results))
    sets = list(dict.fromkeys((r.data, r.split) for r in results))
    for axes, (name, title) in zip(
        figure.subplots(1, 2), {"psnr": "PSNR (dB)", "ssim": "SSIM"}.items(), strict=True
    ):
        for result in results:
            curve = result.tables[MODEL].get(name)
            if curve is None:
                continue
            which = sets.index((result.data, result.split))
            place = models.index(result.checkpoint) + 0.8 * (which + 0.5) / len(sets) - 0.4
            box = axes.boxplot(
                [[m for m in curve.means if m is not None]],
                positions=[place],
                widths=0.6 / len(sets),
                patch_artist=True,
                manage_ticks=False,
                medianprops={"color": "black"},
            )
            box["boxes"][0].set_facecolor(COLOURS[which % len(COLOURS)])
            if (still := result.mean("copy-last", name)) is not None:
                axes.axhline(still, color=COLOURS[which % len(COLOURS)], linestyle=":", linewidth=1)
        slots = [next(r.slots for r in results if r.checkpoint == m) for m in models]
        axes.set_xticks(range(len(models)), [f"$K_m$ = {k}" for k in slots])
        axes.set_xlim(-0.5, len(models) - 0.5)
        axes.set_ylabel(title)
        axes.grid(axis="y", alpha=0.3)
    objects = [next(r.objects for r in results if (r.data, r.split) == s) for s in sets]
    handles = [figure.axes[0].fill([], [], color=COLOURS[i % len(COLOURS)])[0] for i in range(len(sets))]
    figure.legend(
        handles, [f"$K_d$ = {count(n)}" for n in objects], loc="outside upper center", ncols=len(sets)
    )
    FigureCanvasAgg(figure)
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=130)
        return file.getvalue()


def line_chart(title: str, lines: Mapping[str, Points], x_label: str, *, whole: bool = False) -> str:
    """An SVG element with one line per entry, in the page's text colour on a transparent ground.

    Args:
        title: above the chart.
        lines: name -> (x, y); a line of one point is drawn as a dot. Names make the legend when there are several.
        x_label: below it.
        whole: x counts things (frames): no fractions on the axis.
    """
    style = {
        "svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "font.family": "sans-serif",
        "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.spines.top": False, "axes.spines.right": False, "axes.formatter.useoffset": False,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.6, 2.5), layout="constrained")
        axes = figure.subplots()
        for i, (name, (x, y)) in enumerate(lines.items()):
            axes.plot(
                x,
                y,
                "o-" if len(x) < 20 else "-",
                color=COLOURS[i % len(COLOURS)],
                label=name,
                ms=3.5,
                lw=1.6,
            )
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=whole))
        axes.grid(axis="y", color=INK, alpha=0.15)
        if len(lines) > 1:
            figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8, labelcolor=INK)
        FigureCanvasSVG(figure)
        with io.StringIO() as file:
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
            text = file.getvalue()
    drawing = text[text.index("<svg") :].replace(INK, "currentColor")
    # The page sets the size, and already has what these blocks say.
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(
        r'<g id="[^"]*"', "<g", drawing
    )  # the same names in every drawing; nothing refers to them
    return re.sub(r' (width|height)="[\d.]+pt"', "", drawing, count=2)
