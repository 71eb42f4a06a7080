"""A file where a folder is to be made is told at once, whoever wants to write there."""

from pathlib import Path

import pytest

from data_shards.mistake import UserError
from data_shards.storage.place import require_folder
from tests.clips import build_numbered
from trainer.loop import train
from trainer.overrides import resolve


def test_a_file_in_the_way_is_told_before_any_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for place in (file, file / "below" / "it"):
        with pytest.raises(
            UserError, match=f"^{file}: is a file, and a folder is wanted there; name another"
        ):
            require_folder(str(place))
        with pytest.raises(UserError, match=f"^{file}: is a file"):
            build_numbered(str(place), 3)
    build_numbered(str(tmp_path / "set"), 8, size=16, channels=3)
    config = resolve("demo", [f"data.url={tmp_path / 'set'}", f"output={file}", "evaluation.steps=0"])
    with pytest.raises(UserError, match=f"^field output: {file}: is a file"):
        train(config)
    assert file.read_text() == "mine"


def test_what_is_there_or_can_be_made_is_no_mistake(tmp_path: Path) -> None:
    for place in (str(tmp_path), f"{tmp_path}/new/one", "s3://bucket/prefix", "relative"):
        require_folder(place)
