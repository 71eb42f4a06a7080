"""SQAIR on two ranks: its weights are gathered for each call and let go after it, and time is recomputed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.launch import losses, start

SMALL: dict[str, Any] = {
    "name": "sqair-mlp", "size": 16, "channels": 3, "what": 4, "glimpse": 6, "hidden": 8, "particles": 2,
}  # fmt: skip
AIR = SMALL | {"name": "air"}
EXACT: dict[str, Any] = {"objective": "exact", "count_prior": "odds", "propagation_prior": "residual"}
STEPS = ["steps=2", "batch.frames=3", "optim.lr=1e-2", "optim.clip_norm=0"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("model", [SMALL, SMALL | EXACT, AIR], ids=["vimco", "exact", "air"])
def test_sharded_weights_and_recomputation_learn_the_same(
    model: dict[str, Any], tiny_set: str, tmp_path: Path
) -> None:
    found = []
    for stage, remat in ((0, "none"), (3, "every:1")):
        run = tmp_path / f"zero{stage}-{remat.replace(':', '')}"
        words = [f"data.url={tiny_set}", f"engine.zero_stage={stage}", *STEPS]
        words.append(f"model={json.dumps(model | {'remat': remat})}")
        start(run, 2, words).wait()
        found.append(losses(run))
    assert len(found[0]) == 2
    assert found[1] == pytest.approx(found[0], rel=1e-5)
