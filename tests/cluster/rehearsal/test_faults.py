"""The table of faults, what they do to a process or a store and undo again, and the page that tells of them."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import __main__
from cluster.rehearsal import freeze
from cluster.rehearsal.faults import FAULTS, Undo
from cluster.rehearsal.processes import end, wait_until
from cluster.rehearsal.schedule import Blow
from data_shards.exits import exit_code
from data_shards.storage.place import open_store

PAGE = Path(__file__).parents[3] / "docs" / "rehearsal.md"
BLOW = Blow(1, "", 3, 0, 0.0, 0.5)


# Writes a file of 10,000 bytes for each line of its input, and says how that went.
WRITER = """
import sys
for line in sys.stdin:
    try:
        with open(sys.argv[1], "wb", buffering=0) as file:
            file.write(bytes(5000)), file.write(bytes(5000))
        print("written", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def inject(kind: str, worker: int = 0, **more: Any) -> Undo:
    scene: Any = SimpleNamespace(ranks=lambda: [worker], **more)
    return FAULTS[kind].inject(scene, BLOW)


def says(worker: subprocess.Popen[str]) -> str:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    return worker.stdout.readline().strip()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_the_page_has_every_fault_and_no_other() -> None:
    told = re.findall(r"^\| `([\w-]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(told) == sorted(FAULTS)


def test_a_fault_ends_drivers_or_workers_or_is_told() -> None:
    for name, fault in FAULTS.items():
        assert re.compile(fault.told), name
        assert fault.lasts[0] <= fault.lasts[1]
        assert not (fault.ends and fault.loses), f"{name}: a driver that ends takes its workers with it"


def test_a_worker_is_stopped_and_goes_on(worker: subprocess.Popen[str]) -> None:
    undo = inject("stop-worker", worker.pid)
    wait_until(lambda: state(worker.pid) == "T", [], 10, 0.01)
    undo()
    assert says(worker) == "written"


def test_the_workers_disks_are_full_and_are_not(worker: subprocess.Popen[str], tmp_path: Path) -> None:
    assert says(worker) == "written"
    undo = inject("full-disk", worker.pid)
    assert says(worker) == "File too large"
    assert (tmp_path / "file").stat().st_size == 4096
    undo()
    assert says(worker) == "written"
    assert (tmp_path / "file").stat().st_size == 10000


@pytest.mark.parametrize("kind", ["stop-worker", "full-disk"])
def test_what_was_done_to_a_worker_that_is_gone_is_undone(kind: str, worker: subprocess.Popen[str]) -> None:
    undo = inject(kind, worker.pid)
    worker.kill()
    worker.wait()
    undo()


def test_a_node_is_killed_and_another_is_waited_for() -> None:
    with subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdout is not None
        pid, done = int(node.stdout.readline()), list[str]()
        nodes = SimpleNamespace(join=lambda cpus: done.append(f"join {cpus}"))
        undo = inject("kill-raylet", pid, nodes=nodes, wait_for_node=lambda: done.append("wait"))
        assert node.wait(timeout=10) == -9
        assert done == ["join 2"]
        undo()
        assert done == ["join 2", "wait"]
        end([pid], 0)


def test_a_shard_of_the_training_set_is_damaged_and_mended(tiny_set: str, tmp_path: Path) -> None:
    data = open_store(str(shutil.copytree(tiny_set, tmp_path / "set")))
    before, done = {name: data.read(name) for name in data.list()}, list[str]()
    acts: dict[str, Any] = {
        "kill_driver": lambda: done.append("kill"),
        "wait_for_ranks_to_end": lambda limit_s: done.append("wait"),
        "ended": lambda: done.append("ended"),
        "start": lambda: done.append("start"),
    }
    undo = inject("corrupt-shard", 0, data=data, **acts)
    assert done == ["kill", "wait", "ended", "start"]
    (changed,) = [name for name in before if data.read(name) != before[name]]
    assert changed.startswith("train-")
    assert changed.endswith(".tar")
    undo()
    assert {name: data.read(name) for name in data.list()} == before


def test_a_fault_that_this_system_forbids_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scope").write_text("3\n")
    monkeypatch.setattr(freeze, "_YAMA", tmp_path / "scope")
    words = ["rehearse", "demo", "data.url=/nowhere", f"--out={tmp_path / 'out'}", "--faults=block-thread"]
    assert exit_code(lambda: __main__.main(words)) == 2
    assert capsys.readouterr().err.startswith("error: --faults: block-thread is not possible here: ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--faults=store-down"], "--faults: store-down needs a run in an object store; give --store"),
        (
            ["--faults=kill-worker,cut-node"],
            "--faults: cut-node needs hosts with networks of their own; give --hosts",
        ),
        (["--store=/a/folder"], "--store: got /a/folder, needs s3://bucket/prefix"),
        (["--store=s3://bucket/new"], "AWS_ENDPOINT_URL: got https://there, needs http://host:port"),
    ],
)
def test_what_a_fault_needs_is_told(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://there")
    out = tmp_path / "out"
    given = ["rehearse", "demo", "data.url=/nowhere", f"--out={out}", *words]
    assert exit_code(lambda: __main__.main(given)) == 2
    assert capsys.readouterr().err.startswith(f"error: {sentence}")
    assert not out.exists()
