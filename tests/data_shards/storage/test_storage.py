"""A folder as a store, and URLs. The same on a real S3 server: tests/integration/test_store.py."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_shards.storage.place import open_store
from data_shards.storage.store import Changed, NotFound, StorageError, Store


def test_objects(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "new"))
    assert store.list() == {}
    store.put("x/one", b"hello")
    (tmp_path / "file").write_bytes(b"abc" * 1000)
    store.put("other", tmp_path / "file")
    assert store.read("x/one") == b"hello"
    assert (store.read("x/one", 1, 3), store.read("x/one", 3), store.read("x/one", 2, 2)) == (
        b"el",
        b"lo",
        b"",
    )
    assert store.read("other") == b"abc" * 1000
    assert store.list() == {"other": 3000, "x/one": 5}
    assert store.list("x/") == store.list("x/o") == {"x/one": 5}
    assert store.list("y/") == {}
    assert (store.exists("x/one"), store.exists("x/three"), store.exists("x")) == (True, False, False)
    assert store.size("other") == 3000
    store.put("x/one", b"replaced")
    assert store.read("x/one") == b"replaced"
    store.delete("x/one")
    store.delete("x/one")
    assert not store.exists("x/one")


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}", "file://localhost{}"])
def test_urls_of_a_folder(tmp_path: Path, form: str) -> None:
    (tmp_path / "a b").mkdir()
    url = form.format(str(tmp_path / "a b").replace(" ", "%20" if form.startswith("file") else " "))
    store = open_store(url)
    store.put("x", b"1")
    assert (tmp_path / "a b" / "x").read_bytes() == b"1"
    assert store.address("x") == f"{tmp_path}/a b/x"


def one_of_many_wins(store: Store, writers: int) -> None:
    """All put the same name if it is absent: one does, and the others and who comes later are told."""

    def wins(i: int) -> bool:
        try:
            store.put("prize", str(i).encode(), if_absent=True)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(wins, range(writers)))
    assert sum(won) == 1
    assert store.read("prize") == str(won.index(True)).encode()
    with pytest.raises(FileExistsError, match=f"{store.url}/prize"):
        store.put("prize", b"", if_absent=True)
    assert store.read("prize") == str(won.index(True)).encode()


def test_one_of_many_writers_wins(tmp_path: Path) -> None:
    one_of_many_wins(open_store(str(tmp_path)), 64)
    assert os.listdir(tmp_path) == ["prize"]


def test_a_failed_put_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("x", b"old")
    with pytest.raises(StorageError, match="no such file"):
        store.put("x", tmp_path / "absent")
    assert store.read("x") == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_what_is_being_written_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".x.0123.partial").write_bytes(b"half")
    assert open_store(str(tmp_path)).list() == {}


def test_reads_are_pinned_to_a_version(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("x", b"one")
    version = store.stat("x").version
    assert store.read("x", 0, 2, version=version) == b"on"
    store.put("x", b"two")
    with pytest.raises(Changed, match=f"{tmp_path}/x: was replaced"):
        store.read("x", 0, 2, version=version)


def test_errors_name_the_url(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("x", b"12345")
    with pytest.raises(StorageError, match=f"{tmp_path}/x: ends at byte 5, before byte 9: truncated"):
        store.read("x", 2, 9)
    with pytest.raises(NotFound, match=f"{tmp_path}/y: no such file"):
        store.read("y")
    with pytest.raises(NotFound, match=f"{tmp_path}/x/y: no such file"):
        store.read("x/y")
    with pytest.raises(StorageError, match="leaves its folder"):
        store.read("../y")
    with pytest.raises(StorageError, match=f"{tmp_path}/x/y"):
        store.put("x/y", b"")


def test_errors_survive_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(NotFound("s3://b/x", "no such object")))
    assert (type(error), str(error), error.url) == (NotFound, "s3://b/x: no such object", "s3://b/x")


def test_a_folder_of_links_is_a_store(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").write_bytes(b"12345")
    (tmp_path / "set" / "sub").mkdir(parents=True)
    (tmp_path / "set" / "file").symlink_to(tmp_path / "disk" / "a")
    (tmp_path / "set" / "folder").symlink_to(tmp_path / "disk")
    (tmp_path / "set" / "sub" / "up").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "self").symlink_to(tmp_path / "set" / "self")
    (tmp_path / "set" / "gone").symlink_to(tmp_path / "nothing")
    store = open_store(str(tmp_path / "set"))
    assert store.list() == {"file": 5, "folder/a": 5}
    assert store.list("fol") == store.list("folder/") == {"folder/a": 5}
    assert (store.read("file"), store.read("folder/a", 1, 3), store.size("file")) == (b"12345", b"23", 5)
    store.put("folder/b", b"1")
    assert (tmp_path / "disk" / "b").read_bytes() == b"1"
    for name in ("../disk/a", "folder/../../disk/a", str(tmp_path / "disk" / "a")):
        with pytest.raises(StorageError, match="leaves its folder"):
            store.read(name)


def test_what_goes_away_while_it_is_listed_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    for name in ("a", "gone/b", "c"):
        store.put(name, b"1")
    scandir = os.scandir

    def vanishing(folder: Path) -> list[os.DirEntry[str]]:
        entries = list(scandir(folder))
        (tmp_path / "c").unlink(missing_ok=True)
        store.delete("gone/b")
        return entries

    monkeypatch.setattr(os, "scandir", vanishing)
    assert store.list() == {"a": 1}
