"""Training from and to a real S3 server: the same curve as from files, through an outage; mistakes in a sentence."""

import json
import time
from pathlib import Path

import pytest
import torch

from data_shards.sources.sprites import Sprites
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError
from data_shards.writer import build
from tests.ceph import Ceph
from tests.launch import losses, start
from trainer.__main__ import main
from trainer.checkpoints.checkpoint import CONFIG, FOLDER, newest, step_of, steps_on
from trainer.checkpoints.load import load_model
from trainer.journal import local_folder

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]
STEPS = 60
ENDLESS = "steps=1000000"  # of a run that is to be killed: it must not end before
CONSTANT = "optim.decay=constant"  # a cosine would end with the last step


@pytest.fixture(scope="module")
def stored(s3: Ceph) -> str:
    """The clips of `tiny_set` in a bucket."""
    url = f"{s3.bucket()}/set"
    build("sprites", Sprites(size=16, frames=4, objects=2), url, {"train": 64, "val": 16, "test": 16}, seed=0)
    return url


@pytest.fixture(scope="module")
def reference(tiny_set: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The losses of a run on files."""
    run = tmp_path_factory.mktemp("files") / "run"
    start(run, 1, [f"data.url={tiny_set}", CONSTANT, f"steps={STEPS}"]).wait()
    return losses(run)


def test_an_outage_pauses_the_run_and_loses_nothing(s3: Ceph, stored: str, tmp_path: Path) -> None:
    output = f"{s3.bucket()}/runs/one"
    run = tmp_path / local_folder(output)
    # Small fetches, so that the run still needs the store when it goes away.
    words = [
        f"data.url={stored}",
        CONSTANT,
        "data.ahead=1",
        "data.extent_bytes=1024",
        "data.streams=4",
    ]
    ranks = start(run, 1, [*words, ENDLESS], output)
    ranks.wait_for_step(12)
    s3.kill_gateway()
    time.sleep(30)
    assert all(p.poll() is None for p in ranks.processes), ranks.said()
    paused_at = max(losses(run))
    time.sleep(1)
    assert max(losses(run)) == paused_at
    s3.start_gateway()
    ranks.wait_for_step(paused_at + 10)
    ranks.processes[0].terminate()
    assert ranks.processes[0].wait(120) == 130, ranks.said()
    steps = max(losses(run))
    alone = tmp_path / "alone" / "run"
    start(alone, 1, [*words, f"steps={steps}"]).wait()
    assert losses(run) == losses(alone)
    found = newest(open_store(output))
    assert found is not None
    assert found.step == steps
    assert load_model(output).step == steps
    assert open_store(output).read("metrics.jsonl") == (run / "metrics.jsonl").read_bytes()


def test_the_curve_is_that_of_files_also_when_resumed_from_the_bucket(
    s3: Ceph, stored: str, reference: dict[int, float], tmp_path: Path
) -> None:
    output = f"{s3.bucket()}/runs/two"
    run = tmp_path / local_folder(output)
    words = [f"data.url={stored}", CONSTANT, "checkpoint.keep=1000000"]
    ranks = start(run, 1, [*words, ENDLESS], output)
    ranks.wait_for_step(23)
    ranks.kill()
    store = open_store(output)
    for name in store.list(f"{FOLDER}/"):
        if (step_of(name) or 0) > STEPS // 2:  # the kill may have been late
            store.delete(name)
    resumed_from = newest(store)
    assert resumed_from is not None
    assert 15 <= resumed_from.step <= STEPS // 2
    start(run, 1, [*words, f"steps={STEPS}"], output).wait()
    assert losses(run) == reference


def test_mistakes_are_sentences_that_name_the_url(
    s3: Ceph, stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(words: list[str], output: str | None = None) -> str:
        run = tmp_path / (local_folder(output) if output else "run")
        ranks = start(run, 1, words, output)
        assert ranks.processes[0].wait(120) == 2, ranks.said()
        last = [line for line in ranks.said().splitlines() if line.startswith("error:")]
        assert "Traceback" not in ranks.said()
        return last[-1]

    assert "s3://no-such-bucket/set" in said(["data.url=s3://no-such-bucket/set"])
    assert "s3://no-such-bucket/run" in said([f"data.url={stored}"], "s3://no-such-bucket/run")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert stored in said([f"data.url={stored}"])


def test_a_page_that_cannot_be_stored_is_told_before_the_runs_are_read(s3: Ceph) -> None:
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/page.*does not exist"):
        main(["compare", "no-such-run", "--out", "s3://no-such-bucket/page"])


def test_a_chain_in_a_bucket_that_is_killed_ends_as_one_on_files(
    s3: Ceph, stored: str, tiny_set: str, tmp_path: Path
) -> None:
    output, files = f"{s3.bucket()}/chain", tmp_path / "files" / "chain"
    first, last = (f"{output}/stage-{number:02d}" for number in (0, 1))
    stages = 'stages=[{"overrides":{"batch.frames":3,"steps":3}},{"overrides":{"steps":25}}]'
    words = [CONSTANT, "checkpoint.steps=4", stages]
    ranks = start(tmp_path / local_folder(last), 1, [f"data.url={stored}", *words], output)
    try:
        ranks.wait_for_step(6)
    finally:
        ranks.kill()
    assert 4 <= max(steps_on(open_store(last))) < 25
    start(tmp_path / local_folder(last), 1, [f"data.url={stored}", *words], output).wait()
    start(files, 1, [f"data.url={tiny_set}", *words]).wait()
    for url, run in ((first, "stage-00"), (last, "stage-01")):
        assert losses(tmp_path / local_folder(url)) == losses(files / run)
        ours, theirs = (load_model(place).model.state_dict() for place in (url, str(files / run)))
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_second_start_takes_a_run_in_a_bucket_over(s3: Ceph, stored: str, tmp_path: Path) -> None:
    """Of two machines, whose own folders are two."""
    output = f"{s3.bucket()}/runs/owned"
    words = [f"data.url={stored}", CONSTANT, ENDLESS]
    first, second = (tmp_path / name / local_folder(output) for name in ("first", "second"))
    before = start(first, 1, words, output)
    before.wait_for_step(12)
    after = start(second, 1, words, output)
    assert before.processes[0].wait(120) == 2, before.said()
    (told,) = [line for line in before.said().splitlines() if line.startswith("error: ")]
    assert told.startswith(f"error: {output}: another process has started this run since (process ")
    after.wait_for_step(max(losses(first)) + 5)
    after.processes[0].terminate()
    assert after.processes[0].wait(120) == 130, after.said()
    store = open_store(output)
    assert store.read("metrics.jsonl") == (second / "metrics.jsonl").read_bytes(), "the second's alone"
    assert sorted(losses(second)) == list(range(1, max(losses(second)) + 1))
    found = newest(store)
    assert found is not None
    assert found.attempt == json.loads(store.read(CONFIG))["attempt"]
    assert found.step == max(losses(second))
