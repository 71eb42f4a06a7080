"""Sets whose hashes are right and whose content is not what it says: refused by the commands, with the file's name."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from data_shards.__main__ import main
from data_shards.encoding import encode_array
from data_shards.loader import DataConfig, Loader, scan
from data_shards.manifest import MANIFEST
from data_shards.reader import DamagedSample
from data_shards.storage.store import StorageError
from tests.clips import build_numbered
from tests.forged import Change, forge_set


def out_of_the_folder(number: int, key: str, members: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
    return f"../{number}", members


def absolute(number: int, key: str, members: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
    return f"/tmp/{number}", members


def larger(number: int, key: str, members: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """64 MiB of zeros in some 6 kB."""
    return key, members | {"frames.npy.zst": encode_array(np.zeros((1 << 20, 8, 8, 1), np.uint8))}


def longer(number: int, key: str, members: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """More bytes than a clip takes that cannot be packed."""
    return key, members | {"frames.npy.zst": bytes(1 << 20)}


@pytest.mark.parametrize("change", [out_of_the_folder, absolute, larger, longer])
def test_what_a_set_says_is_not_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change
) -> None:
    stem = forge_set(tmp_path / "set", change).removesuffix(".tar")
    url = str(tmp_path / "set")
    tracemalloc.start()
    for command in (["check", url], ["show", url, "--out", str(tmp_path / "show.png")]):
        assert main(command) == 2
        told = capsys.readouterr().err
        assert f"{url}/{stem}" in told
        assert len(told.splitlines()) <= 3  # one for each sample
        assert max(map(len, told.splitlines())) < 400
    with pytest.raises(StorageError, match=f"{url}/{stem}"):
        next(scan(DataConfig(url), "train", 2))
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_members_that_are_not_there_are_not_made_up(tmp_path: Path) -> None:
    """A batch's arrays are empty memory until they are filled."""
    build_numbered(str(tmp_path), 3)
    tree = json.loads((tmp_path / MANIFEST).read_text()) | {"fields": ["frames", "labels"]}
    (tmp_path / MANIFEST).write_text(json.dumps(tree))
    with pytest.raises(StorageError, match=r"has frames.npy.zst, one each of frames, labels is needed"):
        next(scan(DataConfig(str(tmp_path)), "train", 3))


def test_a_shape_that_is_not_the_clips_takes_no_memory(tmp_path: Path) -> None:
    build_numbered(str(tmp_path), 3)
    tree = json.loads((tmp_path / MANIFEST).read_text()) | {"shape": [8, 4096, 4096, 3]}
    (tmp_path / MANIFEST).write_text(json.dumps(tree))
    with (
        pytest.raises(
            DamagedSample, match=r"has shape \(3, 8, 8, 1\), the manifest says \(8, 4096, 4096, 3\)"
        ),
        Loader(DataConfig(str(tmp_path)), "train", 2, range(2)) as loader,
    ):
        next(iter(loader))


def test_objects_that_no_clip_has_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_numbered(str(tmp_path), 3, truth=True)
    assert main(["check", str(tmp_path)]) == 0
    tree = json.loads((tmp_path / MANIFEST).read_text()) | {"objects": 255}
    (tmp_path / MANIFEST).write_text(json.dumps(tree))
    capsys.readouterr()
    assert main(["check", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{tmp_path}: clips have at most 3 objects, the manifest says 255\n"
