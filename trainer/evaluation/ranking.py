"""Clips worth showing: the best, the worst and some between, of the first of a split."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from model.interface import Video, Views
from trainer.batch import limited, some_clips
from trainer.checkpoints.load import LoadedModel
from trainer.evaluation.views import views_of
from trainer.scores import Score

POOL = 64  # clips among which the shown ones are chosen


@dataclass(frozen=True)
class Ranked:
    """A clip, its rank in words, and what each network makes of it.

    `place` is its number in the split, from 0. `views` and `values` are by network and, as `video`, of this clip alone;
    a value is NaN where the network has not what the score needs.
    """

    place: int
    rank: str
    video: Video
    views: Mapping[str, Views]
    values: Mapping[str, float]


@torch.no_grad()
def best_to_worst(
    networks: Mapping[str, LoadedModel],
    batches: Iterator[Video],
    score: Score,
    wanted: int,
    *,
    last: bool = False,
    kept: Sequence[str] = (),
) -> list[Ranked]:
    """Clips of the first 64, evenly spread from the best to the worst by the mean of a score over the networks.

    Args:
        networks: by name; on the device of `batches`.
        batches: of the split, in its order.
        score: what clips are ordered by; those without a value come last.
        wanted: how many, at most.
        last: order by the score of the last frame alone.
        kept: the fields of Views that come back: 64 clips of all of them may fill the memory.
    """
    pool: list[Ranked] = []
    for video in limited(batches, POOL):
        first = len(pool)
        views = {name: views_of(loaded.model, video, loaded.step, first) for name, loaded in networks.items()}
        values = {name: score.of_clips(seen, video, last=last) for name, seen in views.items()}
        for i in range(len(video.frames)):
            one = slice(i, i + 1)
            own = {name: math.nan if v is None else float(v[i]) for name, v in values.items()}
            shown = {name: _some(seen, one, kept) for name, seen in views.items()}
            pool.append(Ranked(len(pool), "", some_clips(video, one), shown, own))
    pool.sort(key=lambda clip: _badness(clip, score.higher_is_better))
    return [replace(pool[place], rank=rank_words(place, len(pool))) for place in spread(len(pool), wanted)]


def spread(total: int, wanted: int) -> list[int]:
    """Places 0..total-1 from best to worst: best, median and worst first, then those between, sorted."""
    shares = [0.0, 0.5, 1.0] if wanted > 1 else [0.0]
    parts = 4
    while len(shares) < wanted:
        shares += [i / parts for i in range(1, parts, 2)]
        parts *= 2
    return sorted({round(share * (total - 1)) for share in shares[:wanted]})


def rank_words(place: int, total: int) -> str:
    """A place in words: Best of 64, Median of 64, Number 17 of 64."""
    named = {round((total - 1) / 2): "Median", total - 1: "Worst", 0: "Best"}  # of few, a later name wins
    return f"{named.get(place, f'Number {place + 1}')} of {total}"


def _badness(clip: Ranked, higher_is_better: bool) -> float:
    known = [value for value in clip.values.values() if not math.isnan(value)]
    if not known:
        return math.inf
    mean = sum(known) / len(known)
    return -mean if higher_is_better else mean


def _some(views: Views, which: slice, fields: Sequence[str]) -> Views:
    return Views(**{name: getattr(views, name) for name in fields}).map(lambda value: value[which])
