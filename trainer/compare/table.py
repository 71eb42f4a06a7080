"""The comparison as data: rows of Table 1, the order they are in, and JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from typing import Any

from trainer.checkpoints.checkpoint import run_of
from trainer.papers.video_autoencoder import TABLE_1, Published

MEASURES = {"bce": "cross-entropy", "mse": "squared error"}


@dataclass(frozen=True)
class Training:
    """What the journal says up to the checkpoint; None = it does not say.

    `seconds` are those of updates: without evaluations and saves, with all restarts.
    """

    updates: int
    batch: int
    epochs: float | None
    clips: int | None  # to train on
    seconds: float | None


@dataclass(frozen=True)
class Row:
    """One contender: scores of the last frame, lower is better but for PSNR; "bce" is missing for frames in colour."""

    name: str
    scores: dict[str, float]
    note: str = ""


@dataclass(frozen=True)
class Network(Row):
    """A row of a run. `kind` is its model's name in MODELS; `differences` are its own from the paper's scale."""

    kind: str = ""
    checkpoint: str = ""
    parameters: int = 0
    training: Training = Training(0, 0, None, None, None)
    differences: tuple[str, ...] = ()

    @property
    def published(self) -> Published | None:
        """The paper's row; None for a network that it has not."""
        return TABLE_1.get(self.kind)


@dataclass(frozen=True)
class Comparison:
    """Runs on the same clips of one data set.

    Args:
        shape: t h w c of the clips.
        measure: what networks are ordered by: "bce", or "mse" where not all were trained on cross-entropy.
        constant: the mean of the training clips' last frames, by channel; None without training clips.
        differences: where data and test are not the paper's.
    """

    data: str
    split: str
    clips: int
    shape: tuple[int, int, int, int]
    measure: str
    networks: tuple[Network, ...]
    references: tuple[Row, ...]
    constant: tuple[float, ...] | None
    differences: tuple[str, ...]

    @property
    def pixels(self) -> int:
        """Of a frame."""
        return self.shape[1] * self.shape[2]

    def floor(self) -> float | None:
        """What a prediction that knows nothing of the clip scores: the constant's."""
        return next((row.scores[self.measure] for row in self.references if row.name == "constant"), None)

    def found_order(self) -> str:
        """One or two sentences: the networks from best to worst, and who does not beat the constant."""
        ranked = sorted(self.networks, key=lambda row: row.scores[self.measure])
        listed = ", ".join(f"{row.name} {row.scores[self.measure]:.4f}" for row in ranked)
        sentence = f"By {MEASURES[self.measure]} of the last frame, best first: {listed}."
        floor = self.floor()
        if floor is not None:
            above = [row.name for row in ranked if row.scores[self.measure] >= floor]
            who = f"{joined(above)} {'are' if len(above) > 1 else 'is'} no" if above else "All are"
            sentence += f" {who} better than predicting the training mean ({floor:.4f})."
        return sentence

    def paper_order(self) -> str:
        """How that compares with the paper, pair by pair; empty where there is nothing to compare."""
        if self.measure != "bce":
            return ""
        known = [(row, row.published.bce) for row in self.networks if row.published is not None]
        pairs = [(a, b) for (a, x), (b, y) in combinations(sorted(known, key=lambda e: e[1]), 2) if x < y]
        if not pairs:
            return ""
        kinds = sorted({row.kind for row, _ in known}, key=lambda kind: TABLE_1[kind].bce)
        order = ", ".join(TABLE_1[kind].title for kind in kinds)
        wrong = [(a, b) for a, b in pairs if a.scores["bce"] >= b.scores["bce"]]
        if not wrong:
            return f"That is the paper's order: {order}."
        reversed_pairs = joined([f"{b.name} before {a.name}" for a, b in wrong])
        return (
            f"The paper's order is {order}: {len(pairs) - len(wrong)} of {len(pairs)} pairs agree, "
            f"here {reversed_pairs}."
        )

    def common_differences(self) -> list[str]:
        """What of the paper's scale holds for no network here."""
        own = [row.differences for row in self.networks if row.published is not None]
        shared = [text for text in own[0] if all(text in others for others in own)] if own else []
        return [*self.differences, *shared]

    def to_json(self) -> str:
        """All numbers."""
        tree: dict[str, Any] = asdict(self)
        for row, entry in zip(self.networks, tree["networks"], strict=True):
            entry["published"] = None if row.published is None else asdict(row.published)
            entry["at_the_papers_scale"] = row.published is not None and not (
                row.differences or self.differences
            )
        for entry in (*tree["networks"], *tree["references"]):
            if "bce" in entry["scores"]:
                entry["scores"]["bce_frame"] = entry["scores"]["bce"] * self.pixels
        tree |= {"found_order": self.found_order(), "paper_order": self.paper_order()}
        return json.dumps(tree, indent=1, allow_nan=False) + "\n"


def in_papers_order(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Sorted as Table 1 is; networks that it does not have come last, all else as given."""
    places = list(TABLE_1)
    return tuple(
        sorted(networks, key=lambda row: places.index(row.kind) if row.kind in places else len(places))
    )


def distinct_names(kinds: Sequence[str], checkpoints: Sequence[str]) -> list[str]:
    """A name for each: the network's, with the run's folder or the whole URL where that is needed to tell them apart.

    Raises:
        ValueError: the same checkpoint twice.
    """
    if twice := [b for a, b in pairwise(sorted(checkpoints)) if a == b]:
        raise ValueError(f"{twice[0]} is given twice; name each run once")
    titles = [TABLE_1[kind].title if kind in TABLE_1 else kind for kind in kinds]
    folders = [run_of(url).rsplit("/", 1)[-1] for url in checkpoints]
    for told in ([""] * len(titles), folders, checkpoints):
        names = [f"{title} ({text})" if text else title for title, text in zip(titles, told, strict=True)]
        if len(set(names)) == len(names):
            break
    return names


def joined(words: Sequence[str]) -> str:
    """A, B and C."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
