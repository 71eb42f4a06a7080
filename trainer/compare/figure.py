"""The figure of a paper, of clips from the best to the worst by what networks are ordered by."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from model.interface import Video
from trainer.checkpoints.load import LoadedModel
from trainer.evaluation.ranking import best_to_worst
from trainer.papers.paper import Column, Drawing, Figure
from trainer.scores import SCORES


@dataclass(frozen=True)
class ShownClip:
    """One clip of the figure. `place` is its number in the split, from 0, `rank` that among the clips in words."""

    place: int
    rank: str
    drawing: Drawing


def shown_clips(
    runs: Mapping[str, LoadedModel],
    batches: Iterator[Video],
    measure: Column,
    figure: Figure | None,
    wanted: int,
) -> list[ShownClip]:
    """Clips of the first 64, evenly spread from best to worst by the mean over all networks; [] without a figure.

    Args:
        runs: by the name that the caption has; on the device of `batches`.
        batches: of the split, in its order.
        measure: what clips are ordered by.
        figure: what is drawn of them.
        wanted: how many, at most.
    """
    if figure is None:
        return []
    score = SCORES[measure.score]
    ranked = best_to_worst(runs, batches, score, wanted, last=measure.last, kept=figure.views)
    return [
        ShownClip(clip.place, clip.rank, figure.draw(clip.video, clip.views, clip.values)) for clip in ranked
    ]
