"""The bench of the loader: what it reads, and what it must not write."""

from pathlib import Path

import pytest

from data_shards.storage.store import StorageError
from trainer.__main__ import main


def test_a_mistyped_set_is_an_error_and_none_is_built_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no data set here"):
        main(
            [
                "bench",
                "loader",
                "--data",
                str(tmp_path / "nope"),
                "--clips",
                "4",
                "--rounds",
                "1",
                "--steps",
                "1",
            ]
        )
    assert not (tmp_path / "nope").exists()
