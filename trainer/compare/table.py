"""The comparison as data: rows of a paper's table, the order they are in, and JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from typing import Any

from data_shards.mistake import UserError
from trainer.checkpoints.checkpoint import run_of
from trainer.evaluation.result import CONSTANT
from trainer.papers.paper import Column, Published, Table


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
    """One contender: its scores by the columns of the table; what it has not is missing."""

    name: str
    scores: dict[str, float]
    note: str = ""


@dataclass(frozen=True)
class Network(Row):
    """A row of a run.

    `kind` is its model's name in MODELS; `published` the paper's row, None for a network that it has not;
    `differences` are its own from the paper's scale.
    """

    kind: str = ""
    checkpoint: str = ""
    parameters: int = 0
    training: Training = Training(0, 0, None, None, None)
    differences: tuple[str, ...] = ()
    published: Published | None = None


@dataclass(frozen=True)
class Comparison:
    """Runs on the same clips of one data set.

    Args:
        table: of the paper.
        columns: those of its columns that say something of these runs on this set; networks are ordered by the first.
        shape: t h w c of the clips.
        constant: the mean of the training clips' last frames, by channel; None where it is not compared with.
        differences: where data and test are not the paper's.
    """

    table: Table
    columns: tuple[Column, ...]
    data: str
    split: str
    clips: int
    shape: tuple[int, int, int, int]
    networks: tuple[Network, ...]
    references: tuple[Row, ...]
    constant: tuple[float, ...] | None
    differences: tuple[str, ...]

    @property
    def measure(self) -> Column:
        """What networks are ordered by."""
        return self.columns[0]

    @property
    def pixels(self) -> int:
        """Of a frame."""
        return self.shape[1] * self.shape[2]

    def floor(self) -> float | None:
        """What a prediction that knows nothing of the clip scores: the constant's."""
        constant = [row for row in self.references if row.name == CONSTANT]
        return constant[0].scores.get(self.measure.score) if constant else None

    def value(self, row: Network) -> float:
        """What a network is ordered by; each has it."""
        return row.scores[self.measure.score]

    def found_order(self) -> str:
        """One or two sentences: the networks from best to worst, and who does not beat the constant."""
        ranked = sorted(self.networks, key=self.value, reverse=self.measure.better(1, 0))
        listed = ", ".join(f"{row.name} {self.value(row):.4f}" for row in ranked)
        of = " of the last frame" if self.measure.last else ""
        sentence = f"By {self.measure.words}{of}, best first: {listed}."
        floor = self.floor()
        if floor is not None:
            above = [row.name for row in ranked if not self.measure.better(self.value(row), floor)]
            who = f"{joined(above)} {'are' if len(above) > 1 else 'is'} no" if above else "All are"
            sentence += f" {who} better than predicting the training mean ({floor:.4f})."
        return sentence

    def paper_order(self) -> str:
        """How that compares with the paper, pair by pair; empty where there is nothing to compare."""
        score, better = self.measure.score, self.measure.better
        known = [
            (row, row.published) for row in self.networks if row.published and score in row.published.scores
        ]
        known.sort(key=lambda entry: entry[1].scores[score], reverse=better(1, 0))
        pairs = [
            (a, b)
            for (a, ours), (b, theirs) in combinations(known, 2)
            if better(ours.scores[score], theirs.scores[score])
        ]
        if not pairs:
            return ""
        order = ", ".join(dict.fromkeys(published.title for _, published in known))
        wrong = [(a, b) for a, b in pairs if not better(self.value(a), self.value(b))]
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
        tree: dict[str, Any] = {
            "data": self.data,
            "split": self.split,
            "clips": self.clips,
            "shape": self.shape,
            "measure": self.measure.score,
            "networks": [self._tree(row) for row in self.networks],
            "references": [self._tree(row) for row in self.references],
            "constant": self.constant,
            "differences": self.differences,
            "found_order": self.found_order(),
            "paper_order": self.paper_order(),
        }
        return json.dumps(tree, indent=1, allow_nan=False) + "\n"

    def _tree(self, row: Row) -> dict[str, Any]:
        tree = asdict(row)
        for column in self.table.columns:
            if column.whole and column.score in row.scores:
                tree["scores"][f"{column.score}_frame"] = row.scores[column.score] * self.pixels
        if isinstance(row, Network):
            known = row.published
            if known is not None:
                tree["published"] = {"title": known.title, "parameters": known.parameters, **known.scores}
            tree["at_the_papers_scale"] = known is not None and not (row.differences or self.differences)
        return tree


def in_papers_order(networks: Iterable[Network], kinds: Sequence[str]) -> tuple[Network, ...]:
    """Sorted as the paper has them, by `kind`; networks that it does not have come last, all else as given."""
    places = {kind: place for place, kind in enumerate(kinds)}
    return tuple(sorted(networks, key=lambda row: places.get(row.kind, len(places))))


def distinct_names(
    kinds: Sequence[str], checkpoints: Sequence[str], published: Mapping[str, Published]
) -> list[str]:
    """A name for each: the network's, with the run's folder or the whole URL where that is needed to tell them apart.

    Raises:
        UserError: the same checkpoint twice.
    """
    if twice := [b for a, b in pairwise(sorted(checkpoints)) if a == b]:
        raise UserError(f"{twice[0]} is given twice; name each run once")
    titles = [published[kind].title if kind in published else kind for kind in kinds]
    folders = [run_of(url).rsplit("/", 1)[-1] for url in checkpoints]
    for told in ([""] * len(titles), folders, checkpoints):
        names = [f"{title} ({text})" if text else title for title, text in zip(titles, told, strict=True)]
        if len(set(names)) == len(names):
            break
    return names


def joined(words: Sequence[str]) -> str:
    """A, B and C."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
