"""Which clips a page shows, and their pictures."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from model.interface import Video, Views
from trainer.batch import users_clips
from trainer.checkpoints.load import LoadedModel
from trainer.evaluation.ranking import POOL, Ranked, best_to_worst
from trainer.evaluation.result import MODEL
from trainer.evaluation.scoring import keyed_videos
from trainer.evaluation.views import draws_of_clip, views_of
from trainer.papers import PAPERS
from trainer.papers.paper import Extra
from trainer.pictures.picture import Picture, Strip, side_by_side
from trainer.scores import SCORES
from trainer.strips import strips
from trainer.strips.boxes import sample_strip
from trainer.strips.frames import rollout_strip

BATCH = 8  # clips that go through the model at once


@dataclass(frozen=True)
class Shown:
    """One clip on the page: its rank among the pool in words, its PSNR in dB (None = no prediction), its pictures."""

    key: str
    rank: str
    psnr: float | None
    columns: int
    slots: int
    rows: list[Strip]
    extras: list[tuple[Extra, list[Strip]]]  # rows that only one paper has
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
    keys: list[str] = []

    def batches() -> Iterator[Video]:
        for names, video in keyed_videos(loaded, data, split, device, POOL, BATCH):
            keys.extend(names)
            yield video

    ranked = best_to_worst({MODEL: loaded}, batches(), SCORES["psnr"], number_of)
    shown = [_shown(loaded, keys[clip.place], clip) for clip in ranked]
    return [replace(clip, opened=number == 0) for number, clip in enumerate(shown)]


def _shown(loaded: LoadedModel, key: str, clip: Ranked) -> Shown:
    video, frames, psnr = clip.video, clip.video.frames, clip.values[MODEL]
    views = views_of(loaded.model, video, loaded.step, clip.place)
    columns = frames.shape[1]
    rows = strips(views, video)
    seen = max(2, columns // 2)  # motion cannot be seen in fewer
    if seen < columns and views.prediction is not None:
        with users_clips(), draws_of_clip(clip.place, frames.device):
            future = loaded.model.predict(Video(frames[:, :seen]), columns - seen)
        rows.append(rollout_strip(future, seen))
    if loaded.config.model.generates and views.presence is not None:
        first = (views.presence[:, 0] > 0.5).sum(1)
        with draws_of_clip(clip.place, frames.device):
            rows.append(sample_strip(loaded.model.sample(1, columns, loaded.step, first), int(first)))
    masks = views.visible_masks if views.amodal_masks is None else views.amodal_masks
    return Shown(
        key=key,
        rank=clip.rank,
        psnr=None if math.isnan(psnr) else psnr,
        columns=columns,
        slots=0 if masks is None else masks.shape[2],
        rows=rows,
        extras=_extras(views, video),
    )


def _extras(views: Views, video: Video) -> list[tuple[Extra, list[Strip]]]:
    known = [paper.extra for paper in PAPERS.values() if paper.extra is not None]
    drawn = [(extra, extra.strips(views, video)) for extra in known]
    return [(extra, rows) for extra, rows in drawn if rows]
