"""python -m trainer evaluate: the papers' tables for any checkpoint, exact over ranks.

`evaluate` streams over batches and keeps sums and counts, so N ranks with a summing `reduce` give what one rank
gives. The command prints each number beside copy-last, black and the oracle's ceiling; with several checkpoints
and data sets it prints the K_m x K_d grid and draws its box plot (figure 3 of arXiv 2103.05669).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.interface import Video, Views
from trainer.scores import SCORES

Reference = Callable[[Video], Views | None]
CLIPS_PER_BATCH = 16


@dataclass
class Tally:
    """Sums and counts of one contender's scores, per step, in float64."""

    sums: dict[str, Tensor] = field(default_factory=dict)  # score -> (2, steps): sum and count
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, views: Views, video: Video) -> None:
        """Count the scores of a batch; a score whose fields are missing is noted instead."""
        for name, score in SCORES.items():
            if lacking := score.missing(views, video):
                self.missing[name] = " and ".join(lacking)
                continue
            values = score.measure(views, video).double().flatten(2) if False else _by_step(score, views, video)
            known = ~values.isnan()
            batch = torch.stack([values.nansum(dim=(0, 2)), known.sum(dim=(0, 2)).double()])
            self.sums[name] = self.sums[name] + batch if name in self.sums else batch
