import os
import subprocess
from pathlib import Path

import pytest

from cluster import shipment
from cluster.shipment import listing, pack


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


TREE = (
    *("a.py", "data_shards/b.py", "model/data/c.py", "docs/d.md"),
    *("data/clip.tar", "runs/x/metrics.jsonl", ".venv/bin/python", "a/__pycache__/a.pyc", ".git/config"),
    *(".env", "keys/id_rsa", "keys/server.pem", ".aws/credentials", ".mypy_cache/x"),
)
SHIPPED = ["a.py", "data_shards/b.py", "docs/d.md", "model/data/c.py"]


def test_any_folder_is_shipped_without_data_environments_caches_and_keys(tmp_path: Path) -> None:
    write(tmp_path, *TREE)
    found = pack(tmp_path)
    assert sorted(found.files) == SHIPPED
    assert found.bytes == sum(map(len, SHIPPED))
    assert {"data", ".git", ".venv", "runs", ".env", "keys/id_rsa", ".aws"} <= found.left_out.keys()


def test_of_a_checkout_only_what_git_would_take_is_shipped(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    write(tmp_path, *(name for name in TREE if ".git/" not in name), "ignored/e.bin", "gone.py")
    (tmp_path / ".gitignore").write_text("ignored/\n")
    subprocess.run(["git", "-C", str(tmp_path), "add", "a.py", "gone.py", ".env"], check=True)
    (tmp_path / "gone.py").unlink()
    found = pack(tmp_path)
    assert sorted(found.files) == SHIPPED
    assert ".env" in found.left_out


def test_more_is_left_out_on_request_and_all_is_listed(tmp_path: Path) -> None:
    write(tmp_path, *TREE)
    found = pack(tmp_path, ("*.md", "/model"))
    assert sorted(found.files) == ["a.py", "data_shards/b.py"]
    rows = listing(found).splitlines()
    assert [row.split() for row in rows[:2]] == [["4", "a.py"], ["16", "data_shards/b.py"]]
    assert "  left out  data  (/data)" in rows
    assert "  left out  model  (/model)" in rows


def test_links_are_followed_within_the_folder_only(tmp_path: Path) -> None:
    write(tmp_path, "tree/a.py", "outside.py")
    os.symlink("a.py", tmp_path / "tree" / "same.py")
    os.symlink(tmp_path / "outside.py", tmp_path / "tree" / "other.py")
    found = pack(tmp_path / "tree")
    assert found.files == {"a.py": 9, "same.py": 9}
    assert found.left_out == {"other.py": "a link that leads out"}


def test_a_copy_has_what_is_listed(tmp_path: Path) -> None:
    write(tmp_path / "tree", *TREE)
    found = pack(tmp_path / "tree")
    found.copy_to(tmp_path / "copy")
    copied = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert sorted(path.relative_to(tmp_path / "copy").as_posix() for path in copied) == SHIPPED


def test_too_much_or_nothing_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"no file to ship"):
        pack(tmp_path)
    with pytest.raises(ValueError, match=r"is no folder"):
        pack(tmp_path / "none")
    write(tmp_path, "a.py")
    (tmp_path / "weights.bin").write_bytes(bytes(2_000_000))
    monkeypatch.setattr(shipment, "MOST", 1_000_000)
    with pytest.raises(ValueError, match=r"2\.0 MB are too much.*weights\.bin \(2\.0 MB\).*--exclude"):
        pack(tmp_path)
    assert list(pack(tmp_path, ("*.bin",)).files) == ["a.py"]
