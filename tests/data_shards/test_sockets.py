"""A long TMPDIR: sockets lie elsewhere, files where the user said."""

import os
import tempfile
from multiprocessing import process, util
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import pytest

from data_shards import sockets
from data_shards.mistake import UserError
from data_shards.sockets import LONGEST, shorten_sockets, socket_folder

TAIL = "/a/socket"


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A temporary folder in whose path no socket's fits."""
    folder = tmp_path / ("x" * 110)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return str(folder)


def test_a_folder_is_kept_while_its_sockets_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        for bytes_more, kept in ((0, True), (1, False)):
            there = f"{folder}/" + "\u00e9" * 8  # of two bytes each
            there += "x" * (LONGEST - len(TAIL) - len(os.fsencode(there)) + bytes_more)
            os.mkdir(there)
            assert (socket_folder(there, TAIL) == there) is kept


def test_multiprocessing_has_a_short_folder_of_its_own(long: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state: Any = process.current_process()
    monkeypatch.setitem(state._config, "tempdir", None)
    with pytest.raises(OSError, match="AF_UNIX path too long"):
        Listener(family="AF_UNIX")
    monkeypatch.setitem(state._config, "tempdir", None)
    shorten_sockets()
    with Listener(family="AF_UNIX") as listener:
        folder = Path(str(listener.address)).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        assert str(folder) == util.get_temp_dir()
    assert tempfile.gettempdir() == long


def test_without_a_short_folder_the_variable_is_named(long: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SHORT", (f"{long}/absent",))
    with pytest.raises(UserError, match=f"TMPDIR: got {long}, .* at most {LONGEST - len(TAIL)} bytes"):
        socket_folder(long, TAIL)
