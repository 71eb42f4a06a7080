import pytest

from data_shards.exits import exit_code
from data_shards.storage.store import StorageError


def fail(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("field x: got 1, needs 2"), 2),
        (StorageError("s3://b/x", "no such bucket"), 2),
        (FileExistsError("x exists already"), 2),
        (KeyboardInterrupt(), 130),
        (RuntimeError("bug"), 1),
    ],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: fail(error)) == code
    said = capsys.readouterr().err
    assert ("Traceback" in said) == (code == 1)
    assert exit_code(lambda: 0) == 0
