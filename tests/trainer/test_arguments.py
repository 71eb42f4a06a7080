from argparse import Namespace
from pathlib import Path

import pytest

from trainer.arguments import require_file, require_folder, require_positive, write_file


def test_a_count_is_at_least_one_where_it_is_given() -> None:
    require_positive(Namespace(limit=None, batch=1), "limit", "batch")
    with pytest.raises(ValueError, match="--batch: got 0, must be at least 1"):
        require_positive(Namespace(limit=3, batch=0), "limit", "batch")


def test_what_can_be_made_is_accepted_and_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (".", "a/b", str(tmp_path), "../other"):
        require_folder("out", Path(folder))
    for file in ("x.json", "a/b/x.json", "/dev/null"):
        require_file("json", Path(file))
    assert list(tmp_path.iterdir()) == []
    write_file(Path("a/b/x.json"), b"text")
    require_file("json", Path("a/b/x.json"))
    assert (tmp_path / "a" / "b" / "x.json").read_bytes() == b"text"


def test_what_cannot_be_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/a/b"):
        with pytest.raises(ValueError, match=f"--out: {tmp_path}/file is no folder; name a place"):
            require_folder("out", tmp_path / folder)
    with pytest.raises(ValueError, match=f"--json: {tmp_path} is a folder; name a file"):
        require_file("json", tmp_path)
    monkeypatch.setattr("trainer.arguments.os.access", lambda place, mode: False)
    for place in ("new/x.json", "file"):
        with pytest.raises(ValueError, match=f"--json: {tmp_path}.* may not be written; name a "):
            require_file("json", tmp_path / place)
