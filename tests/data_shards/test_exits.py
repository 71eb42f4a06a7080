"""What a process exits with, and what it says."""

import io
import os
import subprocess
import sys

import pytest

from data_shards.exits import Refused, exit_code
from data_shards.mistake import UserError
from data_shards.storage.store import StorageError


def fail(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("field x: got 1, needs 2"), 2, "error: field x: got 1, needs 2\n"),
        (StorageError("s3://b/x", "no such bucket"), 2, "error: s3://b/x: no such bucket\n"),
        (FileExistsError("x exists already"), 2, "error: x exists already\n"),
        (Refused("rank 0 failed: out of memory"), 1, "error: rank 0 failed: out of memory\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(lambda: fail(error)) == code
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("error", [ValueError("an open handle"), OSError(5, "lost"), UserError("no space")])
def test_an_interruption_is_one_whatever_was_raised_as_it_left(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave_badly() -> int:
        try:
            raise KeyboardInterrupt
        finally:
            raise error

    assert exit_code(leave_badly) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_anything_else_leaves_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    for bug in (RuntimeError("bug"), ValueError("too many values to unpack")):
        assert exit_code(lambda: fail(bug)) == 1  # noqa: B023
        assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "caf\\udce9 \u6620"), ("latin-1", "caf\\udce9 \\u6620"), ("ascii", "caf\\udce9 \\u6620")],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_name_that_cannot_be_shown_is_escaped(
    stream: str, encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown_there = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict", write_through=True)
    monkeypatch.setattr(sys, stream, shown_there)
    name = os.fsdecode(b"caf\xe9 \xe6\x98\xa0")  # of an archive that was packed elsewhere

    def say() -> int:
        print(name, file=getattr(sys, stream))
        return 0

    assert exit_code(say) == 0
    assert shown_there.buffer.getvalue().decode(encoding) == f"{shown}\n"


def test_the_code_of_a_command_that_ends_is_its_own() -> None:
    assert exit_code(lambda: 0) == 0
    assert exit_code(lambda: 2) == 2


def test_a_terminal_obeys_nothing_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b]0;owned\x07\x9b2J\u202e.mp4"
    assert (
        exit_code(lambda: fail(UserError(f"2 inputs cannot be used:\n  {name}: no video\n\tcaf\u00e9"))) == 2
    )
    told = capsys.readouterr().err
    assert told == (
        "error: 2 inputs cannot be used:\n  a\\x1b]0;owned\\x07\\x9b2J\\u202e.mp4: no video\n\tcaf\u00e9\n"
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_finds_no_room_is_a_sentence(unbuffered: str) -> None:
    code = "import sys; from data_shards.exits import exit_code; sys.exit(exit_code(lambda: print('x') or 0))"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert (done.returncode, done.stderr) == (
        1,
        "error: nothing more can be written (No space left on device)\n",
    )
