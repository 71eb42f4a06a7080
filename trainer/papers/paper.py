"""What a paper is here: whose models it is about, its table for any runs, its figures.

A field that a paper has no use for is left out; `compare`, `report` and `evaluate` know papers by these fields alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from data_shards.manifest import Manifest
from model.interface import ModelConfig, Video, Views
from trainer.evaluation.result import Curve, Evaluation
from trainer.pictures.picture import Picture, Strip
from trainer.scores import SCORES


@dataclass(frozen=True)
class Published:
    """A network's row in the paper's table: what the paper calls it, its parameters (None = not told), its numbers.

    And the clips that it learnt from; None = not told, or the same for all.
    """

    title: str
    parameters: int | None
    scores: Mapping[str, float]  # by the name in SCORES
    clips: int | None = None


@dataclass(frozen=True)
class Column:
    """One number of the table: a score, over which frames, and how it is written.

    Args:
        score: its name in SCORES.
        heading: above the column; "" = not in the table, only among the numbers (JSON).
        words: what sentences call it.
        last: of the last frame alone; otherwise the mean over all that the score has.
        decimals: in the table.
        whole: summed over the pixels of a frame, of a score that is a mean over them.
        note: a sentence below the table.
        fits: whether the number says something of such models on such a set.
    """

    score: str
    heading: str = ""
    words: str = ""
    last: bool = False
    decimals: int = 4
    whole: bool = False
    note: str = ""
    fits: Callable[[Manifest, Sequence[ModelConfig]], bool] = lambda manifest, models: True

    def of(self, curve: Curve) -> float | None:
        """The number."""
        return curve.last if self.last else curve.mean

    def better(self, a: float, b: float) -> bool:
        """Whether `a` beats `b`."""
        return a > b if SCORES[self.score].higher_is_better else a < b


@dataclass(frozen=True)
class Drawing:
    """What a figure shows of one clip: rows of frames, pictures with captions, a remark.

    `flow` says that some picture has the colours of flow, which the page explains.
    """

    rows: Sequence[Strip]
    pictures: Sequence[tuple[str, Picture]] = ()
    remark: str = ""
    flow: bool = False


@dataclass(frozen=True)
class Figure:
    """What a paper shows of clips, for any networks side by side.

    Args:
        heading: its number in the paper.
        about: what is seen; {measure} stands for what clips are ordered by.
        views: the fields of Views that are drawn.
        draw: one clip from the views of each network (with those fields alone) and its number on the clip.
    """

    heading: str
    about: str
    views: Sequence[str]
    draw: Callable[[Video, Mapping[str, Views], Mapping[str, float]], Drawing]


@dataclass(frozen=True)
class Table:
    """A table of the paper, for any runs on any set.

    Args:
        heading: its number in the paper.
        title: of the page; {frames} of a clip, {seen} of them before the last.
        reading: how numbers are read.
        columns: networks are ordered by the first that fits.
        published: the paper's rows for a set, by the name in MODELS, in its order.
        references: contenders to compare with, and a note for each; "constant" is the mean of the clips learnt from.
        remark: a note on a network's row, from its numbers.
        set_differences: where a set, of which so many clips are scored, is not the paper's.
        run_differences: where a network with these parameters, clips to learn from and epochs of them (None = not
            known) is not the published one.
        figure: None = none.
    """

    heading: str
    title: str
    reading: str
    columns: Sequence[Column]
    published: Callable[[Manifest], Mapping[str, Published]]
    references: Mapping[str, str] = field(default_factory=dict)
    remark: Callable[[Mapping[str, float]], str] = lambda scores: ""
    set_differences: Callable[[Manifest, int], Sequence[str]] = lambda manifest, tested: ()
    run_differences: Callable[[Published, int, int | None, float | None], Sequence[str]] = lambda *run: ()
    figure: Figure | None = None


@dataclass(frozen=True)
class Extra:
    """Rows of pictures of a clip that only this paper has, for models of any paper; [] where the views lack something.

    `name` is that of the file, `title` stands above them.
    """

    name: str
    title: str
    strips: Callable[[Views, Video], list[Strip]]


@dataclass(frozen=True)
class Cell:
    """One model on one set: its scores, and what it sees in one clip (views and video of a batch of one)."""

    result: Evaluation
    views: Views
    video: Video


@dataclass(frozen=True)
class Grid:
    """Models against sets, as text and as PNG files: what each shows, the ending of its file's stem, its bytes."""

    text: str
    pictures: Sequence[tuple[str, str, bytes]]


@dataclass(frozen=True)
class Paper:
    """A row of PAPERS.

    Args:
        title: in full.
        arxiv: its number there.
        models: names in MODELS.
        headline: the scores that a page begins with, and what it calls them.
        table: None = the paper prints no numbers.
        extra: rows of pictures for the page of a run.
        grid: models against sets.
    """

    title: str
    arxiv: str
    models: Sequence[str]
    headline: Mapping[str, str]
    table: Table | None = None
    extra: Extra | None = None
    grid: Callable[[Sequence[Cell]], Grid] | None = None
