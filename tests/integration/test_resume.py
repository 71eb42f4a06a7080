"""A run that is killed, resumed, or moved to another number of ranks draws the curve of one left alone."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from data_shards.storage.place import open_store
from tests.ceph import free_port
from tests.launch import TINY, lines, losses, start
from trainer.checkpoints.checkpoint import FOLDER, Checkpoint, newest, steps_on

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STAGES = [0, 1, 2, 3]


# A cosine would end at the last step, which is another one for a run that is to be killed.
COMMON = ("optim.decay=constant", "checkpoint.keep=1000000")


@pytest.fixture(scope="module")
def data(tiny_set: str) -> str:
    return f"data.url={tiny_set}"


def drop_after(run: Path, step: int) -> Checkpoint:
    """Delete the checkpoints of later steps; the newest that is left."""
    store = open_store(str(run))
    for later in steps_on(store):
        if later > step:
            shutil.rmtree(run / FOLDER / f"step-{later:08d}")
    found = newest(store)
    assert found is not None
    return found


def killed(run: Path, world: int, words: list[str], step: int) -> Checkpoint:
    """A run that would not end by itself and was killed at `step` or somewhat later; its newest checkpoint up to 20."""
    ranks = start(run, world, [*words, "steps=1000000"])
    ranks.wait_for_step(step)
    ranks.kill()
    found = drop_after(run, 20)
    assert 0 < found.step <= 20
    return found


@pytest.fixture(scope="module", params=STAGES)
def straight(
    request: pytest.FixtureRequest, data: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path]:
    """(ZeRO stage, a run of 40 steps on two ranks that nobody disturbed, all checkpoints kept)."""
    run = tmp_path_factory.mktemp(f"stage{request.param}") / "straight"
    start(run, 2, [data, *COMMON, "steps=40", f"engine.zero_stage={request.param}"]).wait()
    return request.param, run


def state_of(run: Path, step: int) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint: weights and optimiser of all ranks, by file and path in it."""
    found: dict[str, torch.Tensor] = {}

    def walk(value: object, name: str) -> None:
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{name}.{key}")
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                walk(item, f"{name}.{index}")

    folder = run / FOLDER / f"step-{step:08d}"
    for path in sorted(folder.rglob("*.pt")):
        # Attempts differ in name; what lies below them must not differ.
        walk(torch.load(path, weights_only=False), "/".join(path.relative_to(folder).parts[1:]))
    return found


def test_kill_and_resume_is_bit_equal(straight: tuple[int, Path], data: str, tmp_path: Path) -> None:
    stage, reference = straight
    run = tmp_path / "killed"
    words = [data, *COMMON, f"engine.zero_stage={stage}"]
    killed(run, 2, words, 17)
    start(run, 2, [*words, "steps=40"]).wait()
    assert losses(run) == losses(reference)
    assert sorted(losses(run)) == list(range(1, 41))  # every step once: lines of lost work are gone
    ours, theirs = state_of(run, 40), state_of(reference, 40)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 20
    for name, tensor in theirs.items():
        # ZeRO-3 pads each partition with whatever memory held; the weights themselves are in weights.pt.
        if not (stage == 3 and "fp32_flat_groups" in name):
            assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize("world", [1])
def test_fewer_ranks_continue_the_curve(
    straight: tuple[int, Path], data: str, tmp_path: Path, world: int
) -> None:
    stage, reference = straight
    run = tmp_path / "fewer"
    shutil.copytree(reference, run)
    assert drop_after(run, 20).step == 20
    start(run, world, [data, *COMMON, "steps=40", f"engine.zero_stage={stage}"]).wait()
    compare(run, reference)


def test_more_ranks_continue_the_curve(straight: tuple[int, Path], data: str, tmp_path: Path) -> None:
    stage, reference = straight
    run = tmp_path / "more"
    words = [data, *COMMON, f"engine.zero_stage={stage}"]
    assert killed(run, 1, words, 21).world == 1
    start(run, 2, [*words, "steps=40"]).wait()
    compare(run, reference)


def compare(run: Path, reference: Path) -> None:
    ours, theirs = losses(run), losses(reference)
    assert sorted(ours) == list(range(1, 41))
    worst = max(abs(ours[s] - theirs[s]) / abs(theirs[s]) for s in theirs)
    assert worst < 1e-5, f"loss differs by {worst:.2e} relative"


def test_kill_right_after_a_save_resumes_from_that_save(data: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ranks = start(run, 1, [data, "steps=1000000"])
    store = open_store(str(run))
    deadline = time.monotonic() + 120
    while not steps_on(store):
        assert time.monotonic() < deadline, ranks.said()
        assert ranks.processes[0].poll() is None, ranks.said()
    ranks.kill()
    found = newest(store)
    assert found is not None
    start(run, 1, [data, f"steps={found.step + 3}"]).wait()
    seen = [int(str(line["step"])) for line in lines(run)]
    assert seen == list(range(1, found.step + 4))


def test_sigterm_saves_before_exit(data: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ranks = start(run, 1, [data, "steps=100000", "checkpoint.steps=100000"])
    ranks.wait_for_step(3)
    ranks.processes[0].terminate()
    assert ranks.processes[0].wait(60) == 130
    found = newest(open_store(str(run)))
    assert found is not None
    assert found.step == max(losses(run))


def test_damage_is_told_by_all_ranks(data: str, tmp_path: Path) -> None:
    run, words = tmp_path / "run", [data, "checkpoint.steps=1"]
    start(run, 2, [*words, "steps=2", "checkpoint.keep=1"]).wait()
    path = next((run / FOLDER / "step-00000002").rglob("weights.pt"))
    path.write_bytes(path.read_bytes()[:-1])
    ranks = start(run, 2, [*words, "steps=3"])
    try:
        assert [process.wait(120) for process in ranks.processes] == [2, 2], ranks.said()
    finally:
        ranks.kill()
    assert ranks.said().count(f"{path}: is damaged") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_rank_that_waits_for_its_peers_can_be_stopped(data: str, tmp_path: Path, number: int) -> None:
    port = free_port()
    place = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "trainer", "train", "demo", *TINY, data, f"output={tmp_path}/run"]
    process = subprocess.Popen(command, env=os.environ | {name: str(value) for name, value in place.items()})
    try:
        while not listens(port):
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(number)
        assert process.wait(10) == -number
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    """Whether somebody does; a connection would count as one of the ranks."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
