"""Which clips a page shows, and their pictures."""

from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import torch

from data_shards.loader import scan
from model.interface import Video, Views
from trainer.batch import some_clips, to_video
from trainer.checkpoints.load import LoadedModel
from trainer.papers.object_discovery import cycle_strips
from trainer.pictures.picture import Picture, Strip, side_by_side
from trainer.scores.prediction import psnr
from trainer.strips import strips
from trainer.strips.frames import rollout_strip

POOL = 64  # clips among which the shown ones are chosen


@dataclass(frozen=True)
class Shown:
    """One clip on the page: its rank among the pool in words, its PSNR in dB, its pictures."""

    key: str
    rank: str
    psnr: float | None
    columns: int
    slots: int
    rows: list[Strip]
    cycle: list[Strip]
    opened: bool = False  # all rows at once

    def at(self, *places: str) -> list[Strip]:
        """Its rows that have one of these places on a page."""
        return [row for row in self.rows if row.place in places]

    def film(self) -> list[Picture]:
        """The rows of the film side by side, a picture for each frame that all of them have."""
        rows = self.at("film")
        return side_by_side(rows, scale=4) if rows else []


@torch.no_grad()
def chosen_clips(
    loaded: LoadedModel, data: str, split: str, number_of: int, device: torch.device
) -> list[Shown]:
    """Clips of the pool spread evenly from the best to the worst PSNR, with their pictures."""
    pool: list[tuple[float | None, str, Video]] = []
    config = loaded.config.data
    with closing(scan(type(config)(**vars(config) | {"url": data}), split, 8)) as batches:  # type: ignore[type-var]
        for batch in islice(batches, POOL // 8):
            video = to_video(batch, device)
            views = loaded.model(Video(video.frames), loaded.step).views
            values = (
                [None] * len(batch.keys) if views.prediction is None else psnr(views, video).mean(1).tolist()
            )
            pool += [
                (v, key, some_clips(video, slice(i, i + 1)))
                for i, (v, key) in enumerate(zip(values, batch.keys, strict=True))
            ]
    pool.sort(key=lambda entry: -(entry[0] or 0))
    places = spread(len(pool), number_of)
    return [_shown(loaded, *pool[place], rank=rank_words(place, len(pool))) for place in places]


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


def _shown(loaded: LoadedModel, quality: float | None, key: str, video: Video, rank: str) -> Shown:
    views: Views = loaded.model(Video(video.frames), loaded.step).views
    columns = video.frames.shape[1]
    rows = strips(views, video)
    seen = max(2, columns // 2)  # motion cannot be seen in fewer
    if seen < columns and views.prediction is not None:
        rows.append(rollout_strip(loaded.model.predict(Video(video.frames[:, :seen]), columns - seen), seen))
    masks = views.visible_masks if views.amodal_masks is None else views.amodal_masks
    slots, steps = (0, 0) if masks is None else (masks.shape[2], masks.shape[1])
    t1, t2 = 1 + steps // 5, steps - steps // 5  # well apart, as the loss draws them
    cycle = cycle_strips(views, video, t1, t2) if t2 - t1 >= 2 else []
    return Shown(key, rank, quality, columns, slots, rows, cycle, opened=rank.startswith("Best"))
