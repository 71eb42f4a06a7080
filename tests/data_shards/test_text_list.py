"""Lists as editors save them: with a mark, in two bytes a letter, and what is no text."""

from pathlib import Path
from typing import Any

import pytest

from data_shards.sources.camvid import CamVid
from data_shards.sources.hmdb51 import Hmdb51
from data_shards.sources.text_list import read_lines
from data_shards.storage.place import open_store
from tests.data_shards.test_camvid import write_camvid
from tests.films import numbered, write

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-16-be with a mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_are_no_part_of_the_lines(tmp_path: Path, encoding: str, end: str) -> None:
    text = f"première 1{end}(HQ)_zwei 2{end}"
    be = encoding.startswith("utf-16-be")
    data = b"\xfe\xff" + text.encode("utf-16-be") if be else text.encode(encoding)
    (tmp_path / "a.txt").write_bytes(data)
    assert read_lines(open_store(str(tmp_path)), "a.txt") == ["première 1", "(HQ)_zwei 2"]


@pytest.mark.parametrize("data", ["a 1\n".encode("utf-16-le"), b"\xff\xfea", b"\x89PNG\x00\x00"])
def test_what_is_no_text_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.txt: is no text in UTF-8; save it as UTF-8"):
        read_lines(open_store(str(tmp_path)), "a.txt")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_first_line_of_camvids_lists_counts(tmp_path: Path, encoding: str) -> None:
    write_camvid(tmp_path, "train", ["A_0030", "A_0060"])
    listed = tmp_path / "train.txt"
    listed.write_text(listed.read_text(), encoding=encoding)
    clips = CamVid(str(tmp_path), width=48, height=32, frames=2).clips("train", 9, 0)
    assert [clip.key for clip in clips] == ["A_0030", "A_0060"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_first_line_of_hmdbs_lists_counts(tmp_path: Path, encoding: str) -> None:
    names = [f"{film}_clap_0.avi" for film in ("One", "Two")]
    for name in names:
        write(tmp_path / name, numbered(8), codec=("rawvideo", "yuv420p"))
    lines = "".join(f"{name} {part}\n" for name, part in zip(names, (1, 2), strict=True))
    (tmp_path / "clap_test_split1.txt").write_text(lines, encoding=encoding)
    source = Hmdb51(input=(str(tmp_path),), size=16, frames=4, val_share=0.0)
    assert {clip.facts["file"] for clip in source.clips("train", 9, 0)} == {names[0]}
    assert source.statistics()["listed_but_missing"] == source.statistics()["files_not_listed"] == 0


def test_hidden_lists_are_none_and_lost_ones_are_named(tmp_path: Path) -> None:
    write(tmp_path / "One_clap_0.avi", numbered(8), codec=("rawvideo", "yuv420p"))
    (tmp_path / "clap_test_split1.txt").write_text("One_clap_0.avi 1\n")
    (tmp_path / "._clap_test_split1.txt").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    source: dict[str, Any] = {"input": (str(tmp_path),), "size": 16, "frames": 4, "val_share": 0.0}
    assert len(list(Hmdb51(**source).clips("train", 9, 0))) == 2
    (tmp_path / "wave_test_split1.txt").symlink_to("nowhere.txt")
    with pytest.raises(ValueError, match=r"wave_test_split1\.txt: is a link whose target is not there"):
        next(Hmdb51(**source).clips("train", 9, 0))
