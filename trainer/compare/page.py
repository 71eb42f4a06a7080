"""The page of a comparison: the paper's table, what it says, the paper's figure. Data in, HTML out."""

from collections.abc import Callable, Sequence

from trainer.compare.figure import ShownClip
from trainer.compare.table import Comparison, Network, Row
from trainer.evaluation.result import CONSTANT
from trainer.papers.paper import Column
from trainer.pictures import wheel
from trainer.report import markup
from trainer.report.page import WHEEL

Cells = tuple[str, Callable[[Row], str]]  # heading of a column, and what it says of a row


def build_page(comparison: Comparison, clips: Sequence[ShownClip]) -> str:
    """The whole page as HTML text."""
    frames, height, width, _ = comparison.shape
    paper = comparison.table
    title = paper.title.format(frames=frames, seen=frames - 1)
    reading = [paper.reading, *[column.note for column in comparison.columns if column.note]]
    body = [
        markup.text("h1", title),
        *[markup.text("p", text) for text in (comparison.found_order(), comparison.paper_order()) if text],
        markup.text("h2", paper.heading),
        table(comparison),
        markup.text("p", " ".join(reading)),
        markup.text("h2", "Training"),
        training(comparison),
        *[markup.text("p", text) for text in [scale(comparison)] if text],
        *figure(comparison, clips),
    ]
    size = f"{comparison.clips:,} clips of {frames} frames of {height} x {width} pixels"
    facts = {"data": f"{comparison.data}, {comparison.split}: {size}"}
    facts |= {row.name: row.checkpoint for row in comparison.networks}
    body += [markup.text("h2", "What was compared"), markup.facts(facts)]
    return markup.document(title, body)


def table(comparison: Comparison) -> str:
    """The networks, then what they are compared with."""
    rows: tuple[Row, ...] = (*comparison.networks, *comparison.references)
    floor, measure = comparison.floor(), comparison.measure
    values = [row.scores.get(measure.score) for row in rows]
    better = [v is not None and floor is not None and measure.better(v, floor) for v in values]
    shown = columns(comparison)
    return markup.table(
        [head for head, _ in shown], [[cell(row) for _, cell in shown] for row in rows], better
    )


def columns(comparison: Comparison) -> list[Cells]:
    """What the table tells of each row; the second column is what rows are ordered by.

    The paper's own number stands beside what it publishes.
    """
    told = {score for row in comparison.networks if row.published for score in row.published.scores}
    numbers: list[Cells] = []
    for column in comparison.columns:
        if column.heading:
            numbers.append((column.heading, _score(column, comparison.pixels)))
        if column.heading and column.score in told and not column.whole:
            numbers.append(("paper", _published(column, comparison)))
    return [
        ("network", _name(comparison)),
        *numbers,
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
    measure = comparison.measure.score
    if not any(row.published and measure in row.published.scores for row in comparison.networks):
        return ""
    common = comparison.common_differences()
    words = "The paper's numbers stand in brackets beside networks whose scale is not the paper's."
    return f"{words} What all of them differ in: {'; '.join(common)}." if common else words


def figure(comparison: Comparison, clips: Sequence[ShownClip]) -> list[str]:
    """The paper's figure; nothing where it has none."""
    drawn = comparison.table.figure
    if drawn is None:
        return []
    parts = [
        markup.text("h2", drawn.heading),
        markup.text("p", drawn.about.format(measure=comparison.measure.words)),
    ]
    if any(clip.drawing.flow for clip in clips):
        caption = f"{WHEEL} It is the way that what a pixel shows has just come."
        parts.append(markup.wheel(wheel.legend(), caption))
    for clip in clips:
        rows, pictures, remark = clip.drawing.rows, clip.drawing.pictures, clip.drawing.remark
        columns = max((row.first - 1 + len(row.pictures) for row in rows), default=0)
        parts.append(markup.text("h3", f"{clip.rank} (clip {clip.place} of the split)"))
        parts += [markup.strips(rows, columns)] if rows else []
        parts += [markup.gallery(pictures)] if pictures else []
        parts += [markup.text("p", remark, "faint")] if remark else []
    return parts


def duration(seconds: float | None) -> str:
    """As 41 s, 12.3 min or 5.2 h; a dash for None."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _score(column: Column, pixels: int) -> Callable[[Row], str]:
    name, times = column.score, pixels if column.whole else 1
    return lambda row: f"{row.scores[name] * times:.{column.decimals}f}" if name in row.scores else "-"


def _name(comparison: Comparison) -> Callable[[Row], str]:
    level = ", ".join(f"{value:.4f}" for value in comparison.constant or ())
    return lambda row: f"{CONSTANT} {level}" if row.name == CONSTANT else row.name


def _published(column: Column, comparison: Comparison) -> Callable[[Row], str]:
    """The paper's number, in brackets where the scale is not the paper's."""

    def cell(row: Row) -> str:
        if not isinstance(row, Network) or row.published is None or column.score not in row.published.scores:
            return "-"
        value = f"{row.published.scores[column.score]:.{column.decimals}f}"
        return f"({value})" if row.differences or comparison.differences else value

    return cell
