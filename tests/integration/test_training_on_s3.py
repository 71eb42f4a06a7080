"""Training from and to a real S3 server: the same curve as from files, through an outage; mistakes in a sentence."""

import time
from pathlib import Path

import pytest

from data_shards.sources.sprites import Sprites
from data_shards.storage import StorageError, open_store
from data_shards.writer import build
from tests.ceph import Ceph
from tests.launch import losses, start
from trainer.checkpoint import load_model, newest
from trainer.compare import command as compare
from trainer.journal import local_folder

pytestmark = [pytest.mark.service, pytest.mark.timeout(600)]
STEPS = 60


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
    start(run, 1, [f"data.url={tiny_set}", f"steps={STEPS}"]).wait()
    return losses(run)


def test_an_outage_pauses_the_run_and_loses_nothing(
    s3: Ceph, stored: str, reference: dict[int, float], tmp_path: Path
) -> None:
    output = f"{s3.bucket()}/runs/one"
    run = tmp_path / local_folder(output)
    # Small fetches, so that the run still needs the store when it goes away.
    words = [
        f"data.url={stored}",
        f"steps={STEPS}",
        "data.ahead=1",
        "data.extent_bytes=1024",
        "data.streams=4",
    ]
    alone = tmp_path / "alone" / "run"
    start(alone, 1, words).wait()
    ranks = start(run, 1, words, output)
    ranks.wait_for_step(12)
    s3.kill_gateway()
    time.sleep(30)
    assert all(p.poll() is None for p in ranks.processes), ranks.said()
    paused_at = max(losses(run))
    time.sleep(1)
    assert max(losses(run)) == paused_at < STEPS
    s3.start_gateway()
    ranks.wait()
    assert losses(run) == losses(alone)
    found = newest(open_store(output))
    assert found is not None
    assert found.step == STEPS
    assert load_model(output).step == STEPS
    assert open_store(output).read("metrics.jsonl") == (run / "metrics.jsonl").read_bytes()


def test_the_curve_is_that_of_files_also_when_resumed_from_the_bucket(
    s3: Ceph, stored: str, reference: dict[int, float], tmp_path: Path
) -> None:
    output = f"{s3.bucket()}/runs/two"
    run = tmp_path / local_folder(output)
    words = [f"data.url={stored}", f"steps={STEPS}"]
    ranks = start(run, 1, words, output)
    ranks.wait_for_step(23)
    ranks.kill()
    resumed_from = newest(open_store(output))
    assert resumed_from is not None
    assert resumed_from.step >= 15
    start(run, 1, words, output).wait()
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
        compare.main(["no-such-run", "--out", "s3://no-such-bucket/page"])
