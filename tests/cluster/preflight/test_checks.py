"""Every check of the table is silent where all is well, and speaks where what it is for is broken."""

import importlib.metadata
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cluster.jobs import GRACE
from cluster.preflight import node
from cluster.preflight.checks import CHECKS, findings
from cluster.preflight.driver import manifest_hashes
from cluster.preflight.plan import Ask, Plan
from cluster.preflight.post import Post
from data_shards.storage.folder import FolderStore
from data_shards.storage.store import StorageError

TOKEN = "feedbeef"


@pytest.fixture
def plan(tiny_set: str, tmp_path: Path) -> Plan:
    return Plan(
        sets={tiny_set: ("train",)},
        output=str(tmp_path / "run"),
        state_bytes=1000,
        workers=1,
        worker={"CPU": 1.0},
        placement="PACK",
        start_s=300,
        save_s=600,
        data_s=600,
        metrics_host="127.0.0.1",
    )


@pytest.fixture
def ask(plan: Plan) -> Ask:
    FolderStore(plan.output, Path(plan.output)).put("probe", b"1")
    code, hashes = node.code_here(), manifest_hashes(plan)
    return Ask(plan, code, hashes, "probe", TOKEN, {}, hosts=1, gpus=0, sent=time.time())


def speaks(name: str, *given: Any) -> str:
    """The one sentence of a check."""
    (sentence,) = CHECKS[name].find(*given)
    return sentence


def test_all_is_well_on_this_machine(plan: Plan, ask: Ask, tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path), tmp_path)
    assert findings("driver", plan, 1) == []
    assert findings("node", ask) == []
    assert findings("store", store, "preflight/x") == []


def test_a_check_that_fails_is_a_finding(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(store: Any, folder: str) -> Any:
        raise StorageError("s3://b", "access denied")

    monkeypatch.setitem(CHECKS, "listing", replace(CHECKS["listing"], find=broken))
    store = FolderStore(plan.output, Path(plan.output))
    assert findings("store", store, "preflight/x") == ["listing: s3://b: access denied"]


DRIVER: dict[str, tuple[dict[str, Any], int, str]] = {
    "data": ({"sets": {"/nowhere/set": ("train",)}}, 1, "field data.url: /nowhere/set: no data set here"),
    "output": ({"output": "/proc/run"}, 1, "field output: /proc/run/preflight/"),
    "deadlines": (
        {"state_bytes": 2 * 10**10},
        1,
        "field checkpoint.deadline_s: got 600, a checkpoint of 20000 MB",
    ),
    "metrics": ({}, 2, "field monitoring.host: got 127.0.0.1"),
}


@pytest.mark.parametrize("name", [name for name, check in CHECKS.items() if check.where == "driver"])
def test_the_driver_speaks(name: str, plan: Plan) -> None:
    changed, hosts, sentence = DRIVER[name]
    assert speaks(name, replace(plan, **changed), hosts).startswith(sentence)


def test_times_that_do_not_fit_are_told_apart(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert speaks("deadlines", replace(plan, start_s=5.0), 1).startswith("field ray.start_timeout_s: got 5")
    bucket = replace(plan, sets={"s3://b/set": ("train",)}, data_s=0.0)
    assert speaks("deadlines", bucket, 1).startswith("field data.deadline: got 0")
    monkeypatch.setenv(GRACE, "3")
    assert speaks("deadlines", plan, 1).startswith("a stopped job is killed after 3 s")


def test_a_split_that_is_missing_is_named(plan: Plan, tiny_set: str) -> None:
    told = speaks("data", replace(plan, sets={tiny_set: ("train", "vall")}), 1)
    assert told == f"field data.url: {tiny_set} has no split vall, only train, val, test"


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "", "::"])
def test_metrics_that_others_reach_are_fine(host: str, plan: Plan) -> None:
    assert list(CHECKS["metrics"].find(replace(plan, metrics_host=host), 3)) == []


class Stale(FolderStore):
    """Reads what was there before; lists and finds nothing new."""

    def read(self, name: str, *rest: Any, **more: Any) -> bytes:
        return b"old"


class Unconditional(FolderStore):
    """Ignores If-None-Match, as rclone does."""

    def put(self, name: str, source: bytes | Path, if_absent: bool = False) -> None:
        super().put(name, source)


class Keeping(FolderStore):
    """An upload that is given up is there."""

    def abandon(self, name: str, data: bytes) -> None:
        self.put(name, data)


class Late(FolderStore):
    """Lists what was there a while ago: nothing."""

    def list(self, prefix: str = "", unread: dict[str, str] | None = None) -> dict[str, int]:
        return {}


STORES: dict[str, tuple[type[FolderStore], str]] = {
    "read after write": (Stale, "is read as something else"),
    "one winner": (Unconditional, "8 of 8 writers at once"),
    "abandoned upload": (Keeping, "half a checkpoint"),
    "listing": (Late, "3 of 3 objects that were just written are in no list"),
}


@pytest.mark.parametrize("name", [name for name, check in CHECKS.items() if check.where == "store"])
def test_a_store_that_breaks_its_promise_is_found(name: str, tmp_path: Path) -> None:
    kind, sentence = STORES[name]
    told = speaks(name, kind(str(tmp_path), tmp_path), "preflight/x")
    assert sentence in told
    assert told.startswith(str(tmp_path))


def other_set(ask: Ask) -> Ask:
    return replace(ask, manifests=dict.fromkeys(ask.manifests, "0" * 12))


def elsewhere(ask: Ask) -> Ask:
    return replace(ask, probe="preflight/driver-not-here")


def huge(ask: Ask) -> Ask:
    return replace(ask, plan=replace(ask.plan, state_bytes=10**18))


def alone(ask: Ask) -> Ask:
    with socket.socket() as free:  # bound, not listening
        free.bind(("127.0.0.1", 0))
        return replace(ask, peers={"b": ("127.0.0.1", free.getsockname()[1])})


def other_code(ask: Ask) -> Ask:
    return replace(ask, code=replace(ask.code, sources="0" * 12))


def other_ray(ask: Ask) -> Ask:
    return replace(ask, code=replace(ask.code, versions=ask.code.versions | {"ray": "2.59.0"}))


def with_gpus(ask: Ask) -> Ask:
    return replace(ask, gpus=10_000, plan=replace(ask.plan, worker={"CPU": 1.0, "GPU": 1.0}))


def slow_clock(ask: Ask) -> Ask:
    return replace(ask, sent=ask.sent + 60)


NODES: dict[str, tuple[Callable[[Ask], Ask], str]] = {
    "manifest": (other_set, "is another set here"),
    "output of the node": (elsewhere, "is another place here than on the driver"),
    "scratch": (huge, "and saves need 2000000000000 MB"),
    "peers": (alone, "node b cannot be reached at 127.0.0.1:"),
    "code": (other_code, "other sources of cluster, data_shards, model, monitoring, trainer"),
    "packages": (other_ray, "here and 2.59.0 on the driver"),
    "devices": (with_gpus, "Ray counts 10000 GPUs"),
    "clock": (slow_clock, "s behind the driver's"),
}


@pytest.mark.parametrize("name", [name for name, check in CHECKS.items() if check.where == "node"])
def test_a_node_speaks(name: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "1.0")  # of no build for a device
    change, sentence = NODES[name]
    code = node.code_here()
    assert sentence in speaks(name, change(replace(ask, code=code)))


def test_posts_reach_each_other_and_leave_nothing(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    posts = {name: Post(TOKEN) for name in "ab"}
    asked = replace(ask, peers={name: post.address() for name, post in posts.items()})
    assert posts["a"].look(asked) == []
    room = shutil.disk_usage(tmp_path).free // 3  # enough for one of them, and they are two
    crowded = replace(asked, plan=replace(ask.plan, state_bytes=room))
    assert "for 2 nodes share it" in posts["a"].look(crowded)[0]
    (told,) = posts["b"].look(replace(asked, hosts=2))
    assert told.startswith("collectives of a, b would listen at 127.0.0.1")
    assert "GLOO_SOCKET_IFNAME" in told
    for post in posts.values():
        post.close()
    assert list(tmp_path.glob("commonfate-*")) == []


def test_somebody_else_at_a_peers_address_is_no_peer(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as line:
                line.sendall(b"HTTP/1.1 200 OK")

        answer = Thread(target=serve, daemon=True)
        answer.start()
        told = speaks("peers", replace(ask, peers={"b": ("127.0.0.1", server.getsockname()[1])}))
        answer.join()
    assert "somebody else answers" in told


def test_an_interface_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth77")
    with pytest.raises(OSError, match=r"names eth77, and the interfaces here are .*lo"):
        Post(TOKEN)


def test_a_tmpdir_open_to_all_is_told(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tmp_path.chmod(0o777)
    assert "sticky bit" in speaks("scratch", ask)
    tmp_path.chmod(0o777 | stat.S_ISVTX)
    assert list(CHECKS["scratch"].find(ask)) == []


def test_nothing_of_it_imports_torch(tiny_set: str, tmp_path: Path) -> None:
    code = """if True:
        import sys, time
        import cluster.preflight.__main__, cluster.preflight.survey
        from cluster.preflight import node
        from cluster.preflight.checks import findings
        from cluster.preflight.plan import Ask, Plan
        from cluster.preflight.post import Post
        from data_shards.storage.place import open_store
        plan = Plan({sys.argv[1]: ("train",)}, sys.argv[2], 1, 1, {"CPU": 1, "GPU": 1}, "PACK", 300, 600, 600, "")
        print(findings("driver", plan, 1), findings("store", open_store(plan.output), "preflight/x"))
        findings("node", Ask(plan, node.code_here(), sent=time.time()))
        assert "torch" not in sys.modules, "torch"
    """
    done = subprocess.run(
        [sys.executable, "-c", code, tiny_set, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert (done.returncode, done.stdout) == (0, "[] []\n"), done.stderr
