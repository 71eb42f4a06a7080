"""The report's page: what the numbers say, what the model sees, how it learnt, what was run. Data in, HTML out."""

from collections.abc import Collection, Mapping
from typing import Any

from trainer.evaluation.result import BLACK, CEILING, COPY_LAST, MODEL, UNTRAINED, Evaluation, label, number
from trainer.papers import headline_of
from trainer.pictures import wheel
from trainer.pictures.picture import Strip, gif
from trainer.pictures.plots import line_chart
from trainer.report import markup
from trainer.report.clips import Shown
from trainer.scores import SCORES
from trainer.strips.flow import FLOW

OVER_TIME = ("psnr", "ssim", "fg_ari_frame", "amodal_iou")  # scores with a curve over the frames of a clip


def build_page(
    result: Evaluation, shown: list[Shown], facts: dict[str, str], lines: list[dict[str, Any]], config: str
) -> str:
    """The whole page as HTML text.

    Args:
        result: the scores.
        shown: clips, the best first.
        facts: what was run, name -> value; "model" is its name in MODELS.
        lines: of metrics.jsonl; may be empty.
        config: the resolved config as text.
    """
    model = facts.get("model", "model")
    headline = headline_of(model)
    body = [
        markup.text("h1", f"{model} at step {result.step:,}"),
        markup.text("p", summary(result)),
        markup.tiles(tiles(result, headline)),
    ]
    if shown and (moments := shown[0].film()):
        names = [row.label for row in shown[0].at("film")]
        caption = f"Clip {shown[0].key}, left to right: {', '.join(names)}."
        body.append(markup.animation(gif(moments), caption, caption))
    body += [
        markup.text("h2", "What it sees"),
        markup.text("p", READING),
        markup.legend(max((s.slots for s in shown), default=0)),
    ]
    for clip in shown[:1]:
        body += [markup.wheel(wheel.legend(), WHEEL)] if FLOW in [row.kind for row in clip.rows] else []
        body.append(markup.details("What each row shows", markup.facts(row_meanings(clip.rows))))
    for clip in shown:
        body += clip_section(clip)
    body += [markup.text("h2", "Scores"), markup.text("p", SCORING), score_table(result)]
    body += [*([markup.facts(notes)] if (notes := result.notes()) else []), per_frame(result)]
    if result.skipped:
        reasons = markup.facts({name: f"no {why}" for name, why in result.skipped.items()})
        heading = f"Not scored: {len(result.skipped)} more, for want of what they need"
        body.append(markup.details(heading, reasons))
    body += [
        markup.text("h2", "Training"),
        training(lines, headline),
        markup.text("h2", "What was run"),
        markup.facts(facts),
        markup.details("Full config", markup.text("pre", config)),
    ]
    return markup.document(f"{model} at step {result.step}", body)


def clip_section(clip: Shown) -> list[str]:
    """One clip: the rows that tell most, then the parts of the decomposition, then frames far apart."""
    value = "" if clip.psnr is None else f", {number(clip.psnr)} dB"
    parts = clip.at("detail")
    section = [
        markup.text("h3", f"{clip.rank}{value} (clip {clip.key})"),
        markup.strips(clip.at("view", "film"), clip.columns),
    ]
    if parts:
        summary = ", ".join(dict.fromkeys(row.kind for row in parts)).capitalize()
        section.append(markup.details(summary, markup.strips(parts, clip.columns), opened=clip.opened))
    for extra, rows in clip.extras:
        columns = max(len(row.pictures) for row in rows)
        about = "; ".join(f"{row.label} shows {row.about}" for row in rows)
        content = markup.text("p", f"{about}.") + markup.strips(rows, columns)
        section.append(markup.details(extra.title, content))
    return section


def row_meanings(rows: list[Strip]) -> dict[str, str]:
    """What each kind of row is; rows of slots are named once."""
    meanings: dict[str, str] = {}
    for row in rows:
        meanings.setdefault(row.kind, row.about)
    return meanings


READING = (
    "Columns are frames of a clip, in order. A prediction stands under the frame it predicts; what a slot holds "
    "stands under the frame it was found in, so the last column has none. Good objects keep one colour from left to "
    "right, cover one thing each, and stay whole while hidden: compare the true objects, the masks and the "
    "remembered objects. Clips are picked by the PSNR of their prediction."
)

WHEEL = (
    "Colours of flow: to the right is red, down yellow, left cyan, up violet; the stronger the colour the faster, and "
    "white stands still."
)

SCORING = (
    "Every number stands beside three floors and a ceiling. Untrained is this model before its first step, what its "
    "architecture and its starts bring without learning. Copy-last repeats the newest frame as one still slot; black "
    "predicts nothing. The oracle, where there is a full truth, knows masks, order, colours and motion, and loses "
    "only to the interpolation of one sub-pixel shift. Green: better than copying."
)


def summary(result: Evaluation) -> str:
    """What the scores say, in a sentence or two."""
    ours, still = result.mean(MODEL, "psnr"), result.mean(COPY_LAST, "psnr")
    ceiling, grouping = result.mean(CEILING, "psnr"), result.mean(MODEL, "fg_ari_video")
    parts = []
    if ours is not None and still is not None:
        side = "above" if ours >= still else "below"
        parts.append(
            f"It predicts the next frame at {ours:.1f} dB, {abs(ours - still):.1f} dB {side} copying the last one"
        )
        parts[-1] += f" (the ceiling is {ceiling:.1f} dB)." if ceiling is not None else "."
    if grouping is not None:
        parts.append(
            f"It groups the pixels of objects with an FG-ARI of {grouping:.2f}: 0 is chance, 1 is perfect"
        )
        untrained = result.mean(UNTRAINED, "fg_ari_video")
        parts[-1] += f" (untrained {untrained:.2f})." if untrained is not None else "."
    clips = "1 clip" if result.clips == 1 else f"{result.clips:,} clips"
    parts.append(f"Scored on {clips} of the {result.split or 'given'} split.")
    return " ".join(parts)


def tiles(result: Evaluation, headline: Mapping[str, str]) -> list[tuple[str, str, list[str]]]:
    """Value, name and comparison of each score of the headline."""
    entries = []
    for name, title in headline.items():
        if (value := result.mean(MODEL, name)) is None:
            continue
        contenders = {"untrained": UNTRAINED, "copying": COPY_LAST, "ceiling": CEILING}
        others = {word: result.mean(contender, name) for word, contender in contenders.items()}
        beside = [f"{who} {number(v)}" for who, v in others.items() if v is not None]
        entries.append((f"{number(value)} {SCORES[name].unit}".strip(), title, beside))
    return entries


def score_table(result: Evaluation) -> str:
    """All scores beside their references."""
    contenders = list(result.tables)
    names = [name for name in SCORES if result.mean(MODEL, name) is not None]
    rows = [
        [label(name), *(number(result.mean(c, name)) for c in contenders), SCORES[name].about]
        for name in names
    ]
    return markup.table(["score", *contenders, ""], rows, [_beats_copying(result, name) for name in names])


def per_frame(result: Evaluation) -> str:
    """Scores over the frames of the clip, beside copying and the ceiling."""
    drawings = []
    for name in OVER_TIME:
        lines = {}
        for contender in (c for c in result.tables if c != BLACK and name in result.tables[c]):
            curve = result.tables[contender][name]
            points = [
                (float(curve.first + i), mean) for i, mean in enumerate(curve.means) if mean is not None
            ]
            lines[contender] = ([x for x, _ in points], [y for _, y in points])
        if MODEL in lines:
            drawing = line_chart(label(name), lines, "frame", whole=True)
            drawings.append((drawing, f"{name} for each frame of {', '.join(lines)}"))
    return markup.charts(drawings)


def training(lines: list[dict[str, Any]], headline: Collection[str]) -> str:
    """Curves of metrics.jsonl: the loss, its terms, the health of the slots, the scores of the headline on the way."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for line in lines:
        values = {"loss": line.get("loss")} | line.get("terms", {})
        values |= {f"{line.get('split')} {k}": v for k, v in line.get("scores", {}).items() if k in headline}
        for name, value in values.items():
            if isinstance(value, int | float):
                steps, points = curves.setdefault(name, ([], []))
                steps.append(float(line["step"]))
                points.append(float(value))
    if not curves:
        return markup.text("p", "No line of metrics was recorded.", "faint")
    drawings = []
    for name, (steps, points) in curves.items():
        start, end = (f"{number(points[i])} at step {steps[i]:g}" for i in (0, -1))
        alt = f"{name} over training: {start}, {end}"
        drawings.append((line_chart(name, {name: (steps, points)}, "step", whole=True), alt))
    return markup.charts(drawings)


def _beats_copying(result: Evaluation, name: str) -> bool:
    ours, still = result.mean(MODEL, name), result.mean(COPY_LAST, name)
    if ours is None or still is None or ours == still:
        return False
    return (ours > still) == SCORES[name].higher_is_better
