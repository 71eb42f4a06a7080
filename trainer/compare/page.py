"""The page of a comparison: Table 1, what it says, figure 5. Data in, HTML out."""

import math
from collections.abc import Callable, Sequence

from trainer.compare.figure import ShownClip
from trainer.compare.table import MEASURES, Comparison, Network, Row
from trainer.pictures import wheel
from trainer.pictures.picture import Strip
from trainer.report import markup
from trainer.report.page import WHEEL
from trainer.scores.prediction import CERTAIN

Column = tuple[str, Callable[[Row], str]]  # heading, cell

READING = (
    "Every number is of the last frame of a clip, predicted from the frames before it, as a mean over the clips; PSNR "
    "is in dB. Green: better than the constant, which is the best that can be said without looking."
)
CROSS_ENTROPY = (
    "Cross-entropy is in nats a pixel (and, for a frame, summed over its pixels); where a prediction is certain and "
    f"wrong, as copying and black are, a pixel costs {-math.log(CERTAIN):.1f}."
)
FIGURE = (
    "Clips from the best to the worst predicted, evenly spread, by the mean of all networks. First the frames seen; "
    "then the frame that follows, and what each network expects, with its {measure} on the clip."
)


def build_page(comparison: Comparison, clips: Sequence[ShownClip]) -> str:
    """The whole page as HTML text."""
    frames, height, width, _ = comparison.shape
    title = f"Frame {frames} from the {frames - 1} before it"
    body = [
        markup.text("h1", title),
        *[markup.text("p", text) for text in (comparison.found_order(), comparison.paper_order()) if text],
        markup.text("h2", "Table 1"),
        table(comparison),
        markup.text("p", f"{READING} {CROSS_ENTROPY}" if comparison.measure == "bce" else READING),
        markup.text("h2", "Training"),
        training(comparison),
        *[markup.text("p", text) for text in [scale(comparison)] if text],
        markup.text("h2", "Figure 5"),
        markup.text("p", FIGURE.format(measure=MEASURES[comparison.measure])),
    ]
    if any(clip.flow for clip in clips):
        body.append(
            markup.wheel(wheel.legend(), f"{WHEEL} It is the way that what a pixel shows has just come.")
        )
    for clip in clips:
        body += figure(clip)
    size = f"{comparison.clips:,} clips of {frames} frames of {height} x {width} pixels"
    facts = {"data": f"{comparison.data}, {comparison.split}: {size}"}
    facts |= {row.name: row.checkpoint for row in comparison.networks}
    body += [markup.text("h2", "What was compared"), markup.facts(facts)]
    return markup.document(title, body)


def table(comparison: Comparison) -> str:
    """Table 1: the networks, then what knows nothing or does not move."""
    rows: tuple[Row, ...] = (*comparison.networks, *comparison.references)
    floor = comparison.floor()
    better = [floor is not None and row.scores[comparison.measure] < floor for row in rows]
    shown = columns(comparison)
    return markup.table(
        [head for head, _ in shown], [[cell(row) for _, cell in shown] for row in rows], better
    )


def columns(comparison: Comparison) -> list[Column]:
    """What the table tells of each row; the second column is what rows are ordered by."""
    errors: list[Column] = [("MSE ↓", _score("mse")), ("L1 ↓", _score("l1"))]
    if comparison.measure == "bce":
        errors = [
            ("cross-entropy ↓", _score("bce")),
            ("paper", lambda row: _published(row, comparison)),
            ("a frame ↓", _score("bce", 1, comparison.pixels)),
            *errors,
        ]
    return [
        ("network", _name(comparison)),
        *errors,
        ("PSNR ↑", _score("psnr", 2)),
        ("parameters", lambda row: f"{row.parameters:,}" if isinstance(row, Network) else "-"),
        ("", lambda row: row.note),
    ]


def training(comparison: Comparison) -> str:
    """How the networks came about, and what each has of its own that is not the paper's."""
    common = comparison.common_differences()
    rows = []
    for row in comparison.networks:
        done = row.training
        own = "; ".join(text for text in row.differences if text not in common)
        clips = "-" if done.clips is None else f"{done.clips:,}"
        epochs = "-" if done.epochs is None else f"{done.epochs:.3g}"
        times = (f"{done.updates:,}", f"{done.batch}", clips, epochs, duration(done.seconds))
        rows.append([row.name, *times, own])
    return markup.table(["network", "updates", "of clips", "out of", "epochs", "time", ""], rows)


def scale(comparison: Comparison) -> str:
    """Whether the paper's numbers may be read beside these; empty where there are none."""
    if comparison.measure != "bce" or not any(row.published for row in comparison.networks):
        return ""
    common = comparison.common_differences()
    words = "The paper's numbers stand in brackets beside networks whose scale is not the paper's."
    return f"{words} What all of them differ in: {'; '.join(common)}." if common else words


def figure(clip: ShownClip) -> list[str]:
    """One clip of figure 5."""
    parts = [
        markup.text("h3", f"{clip.rank} (clip {clip.place} of the split)"),
        markup.strips([Strip("seen", "the frames that the networks are shown", clip.seen)], len(clip.seen)),
        markup.gallery([*clip.predicted, *clip.flow]),
    ]
    if clip.flow:
        parts.append(markup.text("p", f"Full colour of flow is {clip.fastest:.2g} pixels a frame.", "faint"))
    return parts


def duration(seconds: float | None) -> str:
    """As 41 s, 12.3 min or 5.2 h; a dash for None."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _score(name: str, decimals: int = 4, times: int = 1) -> Callable[[Row], str]:
    return lambda row: f"{row.scores[name] * times:.{decimals}f}" if name in row.scores else "-"


def _name(comparison: Comparison) -> Callable[[Row], str]:
    level = ", ".join(f"{value:.4f}" for value in comparison.constant or ())
    return lambda row: f"constant {level}" if row.name == "constant" else row.name


def _published(row: Row, comparison: Comparison) -> str:
    if not isinstance(row, Network) or row.published is None:
        return "-"
    value = f"{row.published.bce:.4f}"
    return f"({value})" if row.differences or comparison.differences else value
