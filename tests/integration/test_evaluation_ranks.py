"""The scores that a run writes while it trains do not depend on its number of ranks."""

from pathlib import Path
from typing import Any

import pytest

from tests.launch import lines, start


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_any_number_of_ranks_scores_the_same_clips(tiny_set: str, tmp_path: Path) -> None:
    """Five of sixteen: no number of ranks but one divides it."""
    words = [f"data.url={tiny_set}", "steps=1", "optim.lr=1e-30", "batch.size=6", "batch.micro=1"]
    words += ["evaluation.steps=1", "evaluation.clips=5"]
    scores: list[Any] = []
    for world in (1, 3):
        run = tmp_path / f"on{world}"
        start(run, world, words).wait()
        (found,) = (line["scores"] for line in lines(run) if "scores" in line)
        scores.append(found)
    assert len(scores[0]) > 3
    assert scores[1] == pytest.approx(scores[0], rel=1e-5)
