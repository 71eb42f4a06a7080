import subprocess
from pathlib import Path

import pytest

from trainer import revision


def test_what_the_shipper_says_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(revision.HANDED_OVER, raising=False)
    of_here = revision.code_revision()
    assert of_here == (revision.described(Path(revision.__file__).parents[1]) or of_here)
    monkeypatch.setenv(revision.HANDED_OVER, "v1-2-gabc-dirty")
    assert revision.code_revision() == "v1-2-gabc-dirty"


def test_without_git_it_is_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(revision.HANDED_OVER, raising=False)
    monkeypatch.setattr(revision, "_HOME", tmp_path)
    assert revision.described(tmp_path) == ""
    assert revision.code_revision()[0].isdigit()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert revision.described(tmp_path) == ""  # nothing is committed yet
