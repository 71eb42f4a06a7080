"""Evaluation: the scores of one checkpoint on one split, next to those of the references; JSON and text."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from trainer.scores import SCORES

# Contenders: the model, and what it is read against (references.py).
MODEL = "model"
UNTRAINED = "untrained"
COPY_LAST = "copy-last"
BLACK = "black"
CEILING = "oracle ceiling"
MAJORITY = "majority class"
CONSTANT = "constant"
STRIPES = "stripes"
COMPONENTS = "components"
KMEANS = "k-means"

LINKED = (
    "it sees each frame by itself; slots and numbers of objects are linked over time by the overlap of masks"
)
# What is said below the tables of contenders that are there.
NOTES = {
    STRIPES: "vertical stripes, as many as slots, whatever is in the frame",
    COMPONENTS: "what hangs together of the pixels that truly belong to objects",
    KMEANS: "groups of those pixels by place and colour, as many as there truly are objects",
}


@dataclass(frozen=True)
class Curve:
    """One score of one contender.

    `mean` is over all values; `means[i]` over those of frame (or gap) `first + i` (frames count from 1; `first`
    0 = one value for the whole clip) and `counts[i]` is how many there were. None where there was none. Of a score of
    classes `means[i]` is over those of class i, and `mean` over the means.
    """

    first: int
    mean: float | None
    means: tuple[float | None, ...]
    counts: tuple[int, ...]

    def at(self, place: int) -> float | None:
        """The mean of frame (or gap, or class) `place`; None where there is none."""
        index = place - self.first
        return self.means[index] if 0 <= index < len(self.means) else None

    @property
    def last(self) -> float | None:
        """The mean of the last entry: of the clip's last frame, for scores of predicted frames and of whole clips."""
        return self.means[-1]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    `tables[contender][score]`: contender is one of the names above.
    `skipped` maps each score that the model could not be given to what was missing. `slots` is K_m (0 = none),
    `objects` the mean number of objects in a clip, K_d (None = no truth). `classes` are the names of the data set's
    classes of pixels. `weights` and `shards` tell by hash what was scored and on what: at `checkpoint` and `data` there
    may be others by now.
    """

    step: int
    clips: int
    slots: int
    objects: float | None
    tables: dict[str, dict[str, Curve]]
    skipped: dict[str, str]
    checkpoint: str = ""
    data: str = ""
    split: str = ""
    classes: tuple[str, ...] = ()
    weights: str = ""  # Checkpoint.weights
    shards: str = ""  # Manifest.digest of the split
    linked: bool = (
        False  # over time, by linking.py: what the model says of a frame it says of that frame alone
    )

    @property
    def scores(self) -> dict[str, float]:
        """Mean of each score of the model, where there is one."""
        curves = self.tables.get(MODEL, {})
        return {name: curve.mean for name, curve in curves.items() if curve.mean is not None}

    def to_json(self) -> str:
        """JSON text that `from_json` reads back to an equal Evaluation."""
        return json.dumps(asdict(self), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Evaluation":
        """The Evaluation that `to_json` wrote."""
        tree: dict[str, Any] = json.loads(text)
        tables = {
            contender: {name: _curve(curve) for name, curve in rows.items()}
            for contender, rows in tree["tables"].items()
        }
        return cls(**tree | {"tables": tables, "classes": tuple(tree.get("classes", ()))})

    def text(self) -> str:
        """The tables for a terminal: every score beside its references, PSNR and SSIM per frame, scores per class."""
        contenders = list(self.tables)
        names = [name for name in SCORES if any(self.mean(c, name) is not None for c in contenders)]
        lines = [
            f"{self.checkpoint or 'model'} at step {self.step} on {self.data or 'data'} {self.split}".rstrip()
        ]
        lines += [f"{self.clips} clips, {count(self.objects)} objects, {self.slots or 'no'} slots", ""]
        rows = [["score", *contenders]]
        rows += [[label(name), *(number(self.mean(c, name)) for c in contenders)] for name in names]
        notes = ["", *(SCORES[name].about for name in names)]
        lines += [f"{line}   {note}".rstrip() for line, note in zip(aligned(rows), notes, strict=True)]
        for name in (n for n in ("psnr", "ssim") if n in names):
            curves = {c: self.tables[c][name] for c in contenders if name in self.tables[c]}
            frames = sorted({v.first + i for v in curves.values() for i in range(len(v.means))})
            rows = [[f"{name} of frame", *map(str, frames)]]
            rows += [[c, *(number(v.at(frame)) for frame in frames)] for c, v in curves.items()]
            lines += ["", *aligned(rows)]
        for score in (n for n in names if SCORES[n].steps == "class"):
            curves = {c: self.tables[c][score] for c in contenders if score in self.tables[c]}
            rows = [[f"{score} of", *curves]]
            rows += [
                [self.class_name(i), *(number(v.at(i)) for v in curves.values())]
                for i in range(max(len(v.means) for v in curves.values()))
            ]
            lines += ["", *aligned(rows)]
        lines += ["", *(f"{contender}: {note}" for contender, note in self.notes().items())]
        lines += ["", *(f"skipped {name}: no {reason}" for name, reason in self.skipped.items())]
        return "\n".join(lines).rstrip()

    def notes(self) -> dict[str, str]:
        """What has to be known of contenders to read the tables."""
        notes = {MODEL: LINKED} if self.linked else {}
        return notes | {contender: note for contender, note in NOTES.items() if contender in self.tables}

    def class_name(self, index: int) -> str:
        """The name of a class, or its number where the data set has no names."""
        return self.classes[index] if index < len(self.classes) else f"class {index}"

    def mean(self, contender: str, score: str) -> float | None:
        """One cell of the table; None where there is nothing."""
        curve = self.tables.get(contender, {}).get(score)
        return None if curve is None else curve.mean


def number(value: float | None) -> str:
    """Two decimals from 1 on, three from 0.1 on, four below; a dash for nothing."""
    if value is None:
        return "-"
    decimals = 2 if abs(value) >= 1 else 3 if abs(value) >= 0.1 else 4
    return f"{value:.{decimals}f}"


def label(score: str) -> str:
    """A score's name with its unit and the direction that is better."""
    unit = f" ({SCORES[score].unit})" if SCORES[score].unit else ""
    return f"{score}{unit} {'↑' if SCORES[score].higher_is_better else '↓'}"


def count(value: float | None) -> str:
    """A count that may be a mean over clips; "unknown" for None."""
    if value is None:
        return "unknown"
    return str(round(value)) if math.isclose(value, round(value)) else f"{value:.1f}"


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        others = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *others]).rstrip())
    return lines


def _curve(tree: dict[str, Any]) -> Curve:
    return Curve(tree["first"], tree["mean"], tuple(tree["means"]), tuple(tree["counts"]))
