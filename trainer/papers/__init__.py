"""PAPERS: what each paper measures and shows.

One file a paper: its published rows, and the figures that only it has. To add one, write its file and give it a row.
"""

from collections.abc import Collection, Mapping

from trainer.papers.object_discovery import OBJECT_DISCOVERY
from trainer.papers.paper import Paper
from trainer.papers.provide import PROVIDE
from trainer.papers.video_autoencoder import VIDEO_AUTOENCODER

PAPERS: dict[str, Paper] = {
    "video-autoencoder": VIDEO_AUTOENCODER,
    "object-discovery": OBJECT_DISCOVERY,
    "provide": PROVIDE,
}


def ordered_papers(models: Collection[str]) -> list[Paper]:
    """All papers; those that one of the models (names in MODELS) belongs to come first."""
    return sorted(PAPERS.values(), key=lambda paper: not set(models) & set(paper.models))


def headline_of(model: str) -> Mapping[str, str]:
    """The scores that a page of this model begins with; for a model of no paper, those of all papers."""
    for paper in PAPERS.values():
        if model in paper.models:
            return paper.headline
    return {score: words for paper in PAPERS.values() for score, words in paper.headline.items()}
