"""Whatever byte of a checkpoint is flipped, wherever it is cut: it is refused unread, and an older one is taken."""

import logging
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.rehearsal.damage import DAMAGES
from data_shards.storage.place import open_store
from data_shards.storage.store import Store
from tests.launch import TINY, losses
from trainer import loop
from trainer.checkpoints.checkpoint import FOLDER, MANIFEST, Checkpoint, read_checkpoint, steps_on
from trainer.checkpoints.fetch import fetched
from trainer.checkpoints.seal import Damaged
from trainer.checkpoints.state_files import read_weights
from trainer.config import RunConfig
from trainer.overrides import resolve
from trainer.process_group import ProcessGroup

CASES = 320
ALONE = ProcessGroup(0, 1, 0, torch.device("cpu"))


@pytest.fixture(scope="module")
def run(tiny_set: str, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run that has saved after each of its two steps."""
    words = [*TINY, f"data.url={tiny_set}", "steps=2", "checkpoint.steps=1", "optim.decay=constant"]
    config = resolve("demo", [*words, f"output={tmp_path_factory.mktemp('run') / 'run'}"])
    loop.train(config)
    assert steps_on(open_store(config.output)) == [1, 2]
    return config


def names(config: RunConfig) -> list[str]:
    """All objects of the newest checkpoint that a start reads."""
    checkpoint = read_checkpoint(open_store(config.output), 2)
    return [f"{checkpoint.folder}/{name}" for name in (MANIFEST, *checkpoint.files)]


def step_taken(config: RunConfig) -> int:
    with fetched(open_store(config.output), config, ALONE) as saved:
        assert saved is not None
        return saved.checkpoint.step


@pytest.mark.slow
def test_every_flip_and_cut_is_refused_unread(
    run: RunConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def seen(store: Store, checkpoint: Checkpoint, *rest: Any) -> Any:
        read.append(checkpoint.step)
        return read_weights(store, checkpoint, *rest)

    monkeypatch.setattr("trainer.checkpoints.fetch.read_weights", seen)
    assert step_taken(run) == 2
    draw = random.Random(0)
    objects = names(run)
    for case in range(CASES):
        name, how = objects[case % len(objects)], ("flip", "cut")[case // len(objects) % 2]
        path = Path(run.output) / name
        whole = path.read_bytes()
        read.clear()
        caplog.clear()
        path.write_bytes(DAMAGES[how](whole, draw.random()))
        try:
            assert step_taken(run) == 1, (name, how)
        finally:
            path.write_bytes(whole)
        assert read == [1], (name, how)
        assert f"{path}: is" in caplog.text
        assert "it is left as it is, and the run goes on from step 1" in caplog.text
    assert step_taken(run) == 2


def test_a_run_goes_on_from_the_checkpoint_before(run: RunConfig, caplog: pytest.LogCaptureFixture) -> None:
    before = losses(Path(run.output))
    path = next((Path(run.output) / FOLDER / "step-00000002").rglob("weights.pt"))
    path.write_bytes(DAMAGES["flip"](path.read_bytes(), 0.5))
    with caplog.at_level(logging.WARNING):
        assert loop.train(run).step == 2
    assert f"{path}: is damaged" in caplog.text
    assert losses(Path(run.output)) == before
    assert step_taken(run) == 2, "saved anew"


def test_where_none_is_sound_the_newest_is_named(run: RunConfig) -> None:
    store, kept = open_store(run.output), {}
    for step in (1, 2):
        name = f"{FOLDER}/step-{step:08d}/{MANIFEST}"
        kept[name] = store.read(name)
        store.put(name, kept[name][:-1])
    try:
        with pytest.raises(
            Damaged, match=r"step-00000002/checkpoint\.json: is no manifest of a checkpoint; delete"
        ):
            step_taken(run)
    finally:
        for name, data in kept.items():
            store.put(name, data)
