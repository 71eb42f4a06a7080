"""The journal: lines that outlast a kill, and uploads that no step waits for, that are tried again, and end no run."""

import json
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from data_shards.storage.folder import FolderStore
from data_shards.storage.place import open_store
from data_shards.storage.store import StorageError
from trainer import journal
from trainer.journal import Journal, local_folder, run_name

RUN = "s3://bucket/run"


class Bucket(FolderStore):
    """A folder in place of the bucket, whose uploads can be held back or refused."""

    def __init__(self, root: Path) -> None:
        super().__init__(RUN, root)
        self.open = threading.Event()
        self.open.set()
        self.refusals = 0
        self.uploads: list[str] = []

    def put(self, name: str, source: bytes | Path, if_absent: bool = False) -> None:
        self.uploads.append(name)
        assert self.open.wait(30)
        if self.refusals:
            self.refusals -= 1
            raise StorageError(self.address(name), "refused by the test")
        super().put(name, source, if_absent)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.chdir(tmp_path)
    bucket = Bucket(tmp_path / "bucket")
    monkeypatch.setattr(journal, "open_store", lambda url, deadline=600.0: bucket)
    return bucket


def line(step: int) -> dict[str, object]:
    return {"step": step, "loss": 1.0 / step}


def steps(text: bytes) -> list[int]:
    return [found["step"] for found in journal._lines(text)]


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_no_step_waits_for_an_upload_and_one_is_pending_at_most(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads: list[None] = []
    put = Journal._put

    def counted(journal: Journal) -> None:
        uploads.append(None)
        put(journal)

    monkeypatch.setattr(Journal, "_put", counted)
    writing = Journal(RUN, 0)
    bucket.open.clear()
    writing.write(line(1))
    writing.publish()
    wait(lambda: bucket.uploads == ["metrics.jsonl"])
    for step in (2, 3, 4):
        writing.write(line(step))
        writing.publish()
    assert bucket.uploads == ["metrics.jsonl"]
    bucket.open.set()
    writing.close()
    # The first, the one that waited, and that of close() if the one before had begun.
    assert len(uploads) in (2, 3)
    assert steps(bucket.read("metrics.jsonl")) == [1, 2, 3, 4]


def test_only_lines_and_events_are_uploaded_and_only_what_grew(bucket: Bucket) -> None:
    writing = Journal(RUN, 0)
    (local_folder(RUN) / "targets").mkdir()
    (local_folder(RUN) / "targets" / "run-rank-0.json").write_text("[]")
    writing.write(line(1))
    writing.close()
    (events,) = (local_folder(RUN) / "events").iterdir()
    assert sorted(bucket.list()) == [f"events/{events.name}", "metrics.jsonl"]
    assert bucket.read(f"events/{events.name}") == events.read_bytes()
    again = Journal(RUN, 1)
    again.publish()
    wait(lambda: again._upload is not None and again._upload.done())
    bucket.uploads.clear()
    again.write(line(2))
    again.publish()
    wait(lambda: again._upload is not None and again._upload.done())
    assert f"events/{events.name}" not in bucket.uploads
    assert "metrics.jsonl" in bucket.uploads
    again.close()


def test_an_upload_that_fails_warns_and_is_tried_again(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    writing = Journal(RUN, 0)
    writing.write(line(1))
    bucket.refusals = 1
    writing.publish()
    wait(lambda: writing._upload is not None and writing._upload.done())
    assert "refused by the test" in caplog.text
    assert str(local_folder(RUN)) in caplog.text
    assert not bucket.list()
    writing.publish()
    # The events too, not the lines alone.
    wait(lambda: writing._upload is not None and writing._upload.done())
    assert bucket.list("metrics.jsonl")
    writing.write(line(2))
    bucket.refusals = 100
    writing.close()  # for good: the run has ended as it has
    assert steps(bucket.read("metrics.jsonl")) == [1]
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2
    again = Journal(RUN, 2)  # which uploads what the store lacks
    bucket.refusals = 0
    again.close()
    assert steps(bucket.read("metrics.jsonl")) == [1, 2]


def test_lines_of_the_store_win_over_those_of_a_machine_that_fell_behind(bucket: Bucket) -> None:
    Journal(RUN, 0).close()
    here = local_folder(RUN) / "metrics.jsonl"
    here.write_text('{"step": 1, "loss": 7.0}\n{"step": 2, "loss": 7.0}\n{"step": 3, "loss": 7.0}\n')
    bucket.put("metrics.jsonl", b'{"step": 1, "loss": 8.0}\n{"step": 2, "loss": 8.0}\n{"st')
    Journal(RUN, 2).close()
    assert here.read_text() == '{"step": 1, "loss": 8.0}\n{"step": 2, "loss": 8.0}\n'


def test_events_of_lost_work_are_purged(tmp_path: Path) -> None:
    writing = Journal(str(tmp_path), 0)
    writing.write(line(1))
    writing.close()
    (first,) = (tmp_path / "events").iterdir()
    assert purged(first) == []
    time.sleep(1.1)  # a file of events is named by its second
    Journal(str(tmp_path), 4).close()
    (second,) = set((tmp_path / "events").iterdir()) - {first}
    assert purged(second) == [5]


def purged(events: Path) -> list[int]:
    """The steps from which on a file of events takes back what others say."""
    data, found = events.read_bytes(), []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + size])
        if event.session_log.status == SessionLog.START:
            found.append(event.step)
        data = data[16 + size :]
    return found


def test_a_start_that_is_killed_leaves_the_lines_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Journal(str(tmp_path), 0)
    for number in range(1, 6):
        first.write(line(number))
    first.close()
    before = (tmp_path / "metrics.jsonl").read_bytes()

    def killed(path: Path, text: str, encoding: str) -> int:
        path.write_bytes(text.encode()[: len(text) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            Journal(str(tmp_path), 3)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    Journal(str(tmp_path), 3).close()
    assert steps((tmp_path / "metrics.jsonl").read_bytes()) == [1, 2, 3]


def test_the_journal_drops_lines_of_lost_work_and_half_lines(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path), 0)
    for step in (1, 2, 3):
        journal.write({"step": step, "loss": float(step), "terms": {"a": 0.5}})
    journal.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    journal = Journal(str(tmp_path), 2)
    journal.write({"step": 3, "loss": 30.0, "terms": {}})
    journal.close()
    lines = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert list((tmp_path / "events").iterdir())


def test_a_run_on_a_bucket_writes_below_runs() -> None:
    assert local_folder("s3://bucket/some/run") == Path("runs", run_name("s3://bucket/some/run"))
    assert len({local_folder(f"s3://bucket/{path}") for path in ("a_b", "a/b", "c/b")}) == 3
    assert local_folder("/a/run") == local_folder("file:///a/run") == Path("/a/run")


def test_a_file_url_is_one_folder_to_the_journal_and_to_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    for number, url in enumerate(
        (f"file://localhost{tmp_path}/a%20run", f"file://{tmp_path}/a%20run"), start=1
    ):
        journal = Journal(url, 0)
        journal.write({"step": number, "loss": 1.0, "terms": {}})
        journal.close()
        assert json.loads(open_store(url).read("metrics.jsonl"))["step"] == number
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    with pytest.raises(ValueError, match="must be a plain path"):
        local_folder("http://host/run")


def test_a_start_from_a_checkpoint_finds_the_lines_before_it(bucket: Bucket) -> None:
    """Whoever completes a checkpoint has waited for its lines, but not for an upload that is refused."""
    writing = Journal(RUN, 0)
    bucket.open.clear()
    writing.write(line(1))
    writing.publish()
    wait(lambda: bucket.uploads == ["metrics.jsonl"])
    writing.write(line(2))
    waiting = threading.Thread(target=writing.settle)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    bucket.open.set()
    waiting.join(30)
    assert steps(bucket.read("metrics.jsonl")) == [1, 2]
    bucket.refusals = 1
    writing.write(line(3))
    writing.settle()
    assert steps(bucket.read("metrics.jsonl")) == [1, 2]
    writing.close()
    writing.settle()
    assert steps(bucket.read("metrics.jsonl")) == [1, 2, 3]
