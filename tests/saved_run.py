"""A run on disk as training would leave it, in no time: untrained weights in complete checkpoints."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch

from data_shards.loader import DataConfig
from model.interface import ModelConfig
from model.object_discovery.model import Config
from trainer.checkpoints.checkpoint import MANIFEST, Checkpoint
from trainer.config import RunConfig

TINY = Config(
    size=16, slots=2, width=8, hidden=8, kernel=3, reader_width=4, reader_hidden=8, background_width=4,
    sinkhorn_iterations=5,
)  # fmt: skip


def save_run(
    folder: Path, data: str, steps: tuple[int, ...] = (7,), lines: int = 2, model: ModelConfig = TINY
) -> str:
    """The URL of a run, by default of a tiny object-discovery model on 16x16 clips, with checkpoints at `steps`."""
    config = RunConfig(recipe="tiny", model=model, data=DataConfig(data), output=str(folder))
    for step in steps:
        torch.manual_seed(step)
        weights = folder / "checkpoints" / f"step-{step:08d}" / "first" / "rank-00000" / "weights.pt"
        weights.parent.mkdir(parents=True)
        torch.save(model.build().state_dict(), weights)
        content = weights.read_bytes()
        manifest = Checkpoint(
            step=step,
            world=1,
            zero_stage=0,
            attempt="first",
            config=config.model_dump(mode="json"),
            digest=config.digest(),
            revision="0123abc",
            progress={},
            files={"first/rank-00000/weights.pt": (len(content), hashlib.sha256(content).hexdigest())},
        )
        (weights.parents[2] / MANIFEST).write_text(json.dumps(asdict(manifest)))
    journal = [
        {"step": i, "time": i, "loss": 1 / (i + 1), "terms": {"reconstruction": 0.5}} for i in range(lines)
    ]
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in journal) + '{"step": 99, "lo'
    )
    return str(folder)
