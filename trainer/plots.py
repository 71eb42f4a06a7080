"""Line and box plots through matplotlib's Agg canvas; figures in, bytes out, no global state."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trainer.evaluation import MODEL, Evaluation, count

SETS = ("#3b6fb6", "#c8553d", "#4a9a6a", "#8a5fb0", "#b08a2e")  # one colour for each data set


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
                [[m for m in curve.means if m is not None]], positions=[place], widths=0.6 / len(sets),
                patch_artist=True, manage_ticks=False, medianprops={"color": "black"},
            )  # fmt: skip
            box["boxes"][0].set_facecolor(SETS[which % len(SETS)])
        slots = [next(r.slots for r in results if r.checkpoint == m) for m in models]
        axes.set_xticks(range(len(models)), [f"$K_m$ = {k}" for k in slots])
        axes.set_xlim(-0.5, len(models) - 0.5)
        axes.set_ylabel(title)
        axes.grid(axis="y", alpha=0.3)
    objects = [next(r.objects for r in results if (r.data, r.split) == s) for s in sets]
    handles = [figure.axes[0].fill([], [], color=SETS[i % len(SETS)])[0] for i in range(len(sets))]
    figure.legend(
        handles, [f"$K_d$ = {count(n)}" for n in objects], loc="outside upper center", ncols=len(sets)
    )
    return png(figure)


def png(figure: Figure) -> bytes:
    """The figure as PNG at 130 dots per inch."""
    FigureCanvasAgg(figure)
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=130)
        return file.getvalue()
