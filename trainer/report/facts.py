"""What was run, in words for people."""

import json

from data_shards.manifest import read_manifest
from trainer.checkpoints.load import LoadedModel


def facts_of(loaded: LoadedModel, data: str) -> dict[str, str]:
    """What was run, for people."""
    config, checkpoint, manifest = loaded.config, loaded.checkpoint, read_manifest(data)
    frames, height, width, channels = manifest.shape
    splits = ", ".join(f"{split} {manifest.samples(split):,}" for split in manifest.splits)
    parameters = sum(p.numel() for p in loaded.model.parameters())
    return {
        "model": config.model_dump(mode="json")["model"]["name"],
        "recipe": config.recipe or "none",
        "checkpoint": loaded.url,
        "parameters": f"{parameters:,}",
        "data": f"{data}: {manifest.source}, {frames} frames of {height} x {width} x {channels} ({splits} clips)",
        "batch": f"{config.batch.size} clips on {checkpoint.world} worker{'s' * (checkpoint.world > 1)}",
        "optimiser": f"{config.optim.name}, learning rate {config.optim.lr:g}",
        "engine": f"ZeRO stage {config.engine.zero_stage}, {config.engine.precision}",
        "seed": str(config.seed),
        "code": checkpoint.revision,
        "config hash": checkpoint.digest,
    }


def config_text(loaded: LoadedModel) -> str:
    """The resolved config as indented JSON."""
    return json.dumps(loaded.config.model_dump(mode="json"), indent=1)
