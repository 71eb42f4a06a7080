"""R-NEM's files of bouncing balls, synthesised: what a clip of them is, and what is wrong with other files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_shards.clip import Clip
from data_shards.loader import DataConfig, scan
from data_shards.sources.balls_file import GROUPS
from data_shards.sources.bouncing_balls import PALETTE, BouncingBalls
from data_shards.writer import build

h5py = pytest.importorskip("h5py")

DRAWN = BouncingBalls(size=16, frames=6, fewest=2, objects=3, speed=3.0)


def write(path: Path, counts: dict[str, int], kind: Any = bool, leave_out: str = "") -> dict[str, list[Clip]]:
    """A file in the released layout, of clips that are drawn here: time first, then the clip."""
    drawn = {split: list(DRAWN.clips(split, count, 1)) for split, count in counts.items()}
    with h5py.File(path, "w") as file:
        for split, clips in drawn.items():
            arrays = {
                "features": np.stack([clip.frames > 0 for clip in clips], 1),
                "groups": np.stack([clip.visible_ids[..., None] for clip in clips], 1).astype(np.float32),
                "collisions": np.stack([clip.collisions[..., None] for clip in clips], 1),
                "events": np.zeros((6, len(clips), 1)),
            }
            group = file.create_group(GROUPS[split])
            for name, array in arrays.items():
                if name != leave_out:
                    group.create_dataset(name, data=array.astype(kind if name == "features" else array.dtype))
    return drawn


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float32])
def test_clips_are_those_of_the_file(tmp_path: Path, kind: Any) -> None:
    drawn = write(tmp_path / "balls.h5", {"train": 70, "val": 3, "test": 2}, kind)
    source = BouncingBalls(sequences=str(tmp_path / "balls.h5"), size=16, frames=5)
    for split, clips in drawn.items():
        stored = list(source.clips(split, 100, 0))
        assert len(stored) == len(clips)
        assert len({clip.key for clip in stored}) == len(clips)
        for mine, theirs in zip(stored, clips, strict=True):
            for name in ("frames", "visible_ids", "collisions"):
                np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name)[:5])
    assert any(clip.collisions.any() for clip in drawn["train"])
    assert len(list(source.clips("train", 65, 0))) == 65


def test_colours_are_painted_by_number(tmp_path: Path) -> None:
    drawn = write(tmp_path / "balls.h5", {"test": 3})["test"]
    source = BouncingBalls(sequences=str(tmp_path / "balls.h5"), size=16, frames=6, paint="colour", colours=2)
    paints = np.array([[0, 0, 0], PALETTE[0], PALETTE[1], PALETTE[0]])
    for mine, theirs in zip(source.clips("test", 3, 0), drawn, strict=True):
        np.testing.assert_array_equal(mine.frames, paints[theirs.visible_ids])


def test_a_set_is_built_of_it_and_keeps_what_it_was_built_from(tmp_path: Path) -> None:
    write(tmp_path / "balls.h5", {"train": 4, "val": 2, "test": 2})
    source = BouncingBalls(sequences=str(tmp_path / "balls.h5"), size=16, frames=6)
    manifest = build("bouncing-balls", source, str(tmp_path / "set"), {"train": 4, "val": 2}, 0)
    assert manifest.parameters["sequences"] == str(tmp_path / "balls.h5")
    assert "radii" not in manifest.parameters
    (batch,) = scan(DataConfig(str(tmp_path / "set")), "train", 4, fields=None)
    assert batch.collisions.shape == (4, 6, 16, 16)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frames": 7}, r"training/features is \(6, 2, 16, 16, 1\), needs \(at least 7 frames, clips, 16"),
        ({"size": 17}, r"is \(6, 2, 16, 16, 1\), needs \(at least 6 frames, clips, 17, 17, 1\)"),
        ({"sequences": "none.h5"}, r"cannot be read as HDF5 .*No such file"),
        ({"sequences": "text.h5"}, r"text\.h5: cannot be read as HDF5"),
        ({"sequences": "lacking.h5"}, r"training has collisions, events, features, no groups"),
        ({"sequences": "val.h5"}, r"has validation, no training"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    write(tmp_path / "balls.h5", {"train": 2})
    write(tmp_path / "lacking.h5", {"train": 2}, leave_out="groups")
    write(tmp_path / "val.h5", {"val": 2})
    (tmp_path / "text.h5").write_text("no such thing")
    given: dict[str, Any] = {"size": 16, "frames": 6, "sequences": "balls.h5"} | changes
    given["sequences"] = str(tmp_path / given["sequences"])
    source = BouncingBalls(**given)
    with pytest.raises(ValueError, match=words):
        next(source.clips("train", 1, 0))
