"""Figure 5 of arXiv 1511.06309: what each network makes of the same clips, from the best predicted to the worst."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.interface import Video, Views
from trainer.batch import limited, some_clips
from trainer.checkpoints.load import LoadedModel
from trainer.pictures.picture import Picture, rgb
from trainer.pictures.wheel import flow_picture
from trainer.report.clips import POOL, rank_words, spread
from trainer.scores import SCORES
from trainer.scores.flow import true_flow


@dataclass(frozen=True)
class ShownClip:
    """One clip of the figure: pictures with captions. `place` is its number in the split, from 0."""

    place: int
    rank: str
    seen: list[Picture]
    predicted: list[tuple[str, Picture]]  # the true frame, then a prediction for each network
    flow: list[
        tuple[str, Picture]
    ]  # into that frame, where a network has it, and the true one where it is known
    fastest: float  # pixels a frame of full colour, for all flow of the clip


@torch.no_grad()
def shown_clips(
    runs: Mapping[str, LoadedModel], batches: Iterator[Video], measure: str, wanted: int
) -> list[ShownClip]:
    """Clips of the first 64, evenly spread from best to worst by the mean of `measure` over all networks.

    Args:
        runs: by the name that the caption has; on the device of `batches`.
        batches: of the split, in its order.
        measure: the score of the captions, for each clip a value of the last frame, the lower the better.
        wanted: how many, at most.
    """
    pool: list[tuple[float, int, Video, dict[str, tuple[Views, float]]]] = []
    for video in limited(batches, POOL):
        views = {name: loaded.model(Video(video.frames), loaded.step).views for name, loaded in runs.items()}
        values = {name: SCORES[measure].measure(seen, video)[:, 0].tolist() for name, seen in views.items()}
        for i in range(len(video.frames)):
            one = slice(i, i + 1)
            entry = {name: (_last(seen, one), values[name][i]) for name, seen in views.items()}
            mean = sum(value for _, value in entry.values()) / len(entry)
            pool.append((mean, len(pool), some_clips(video, one), entry))
    pool.sort(key=lambda candidate: candidate[:2])
    return [
        _shown(*pool[place][1:], rank=rank_words(place, len(pool))) for place in spread(len(pool), wanted)
    ]


def _shown(place: int, video: Video, entry: Mapping[str, tuple[Views, float]], rank: str) -> ShownClip:
    frames = rgb(video.frames[0])
    predicted = [("true frame", frames[-1])]
    fields: dict[str, Float[Tensor, "2 h w"]] = {}
    for name, (views, value) in entry.items():
        assert views.prediction is not None
        predicted.append((f"{name} {value:.4f}", rgb(views.prediction[0])[-1]))
        if views.flow is not None:
            fields[f"flow of {name}"] = views.flow[0, -1].float()
    truth = video.truth
    if fields and truth is not None and truth.visible_ids is not None and truth.velocities is not None:
        fields["true flow"] = true_flow(video)[0, -1].float()
    fastest = max(
        (float(torch.linalg.vector_norm(field, dim=0).max()) for field in fields.values()), default=0.0
    )
    flow = [(caption, flow_picture(field, fastest)) for caption, field in fields.items()]
    return ShownClip(place, rank, frames[:-1], predicted, flow, fastest)


def _last(views: Views, clip: slice) -> Views:
    """Prediction of one clip's last frame, and flow into it: what the pool of clips keeps."""
    assert views.prediction is not None
    flow = None if views.flow is None else views.flow[clip, -1:]
    return Views(prediction=views.prediction[clip, -1:], flow=flow)
