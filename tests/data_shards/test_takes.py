"""Takes of any video, as a data set would have them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_shards.manifest import Manifest
from data_shards.takes import Take, takes
from tests.clips import build_numbered
from tests.data_shards.test_picture_folder import fill
from tests.films import noise, numbers, write


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Of a set of grey clips of 32 x 32 pixels, whose parameters say that frames are stretched and nothing is a cut."""
    made = build_numbered(str(tmp_path / "set"), 1)
    return replace(made, shape=(3, 32, 32, 1), parameters={"fit": "stretch", "cut": 2.0})


def found(place: Path, manifest: Manifest, longest: int = 100) -> tuple[list[Take], list[str]]:
    said: list[str] = []
    return list(takes(str(place), manifest, longest, said.append)), said


def test_a_gap_ends_a_take_and_a_lone_frame_is_none(tmp_path: Path, manifest: Manifest) -> None:
    fill(tmp_path / "a", [*range(3, 9), *range(10, 15), 20])
    parts, said = found(tmp_path / "a", manifest)
    assert [numbers(take) for take in parts] == [list(range(3, 9)), list(range(10, 15))]
    assert {(take.name, take.fps, take.frames.shape[1:]) for take in parts} == {("a", 25.0, (32, 32, 1))}
    assert not said


def test_the_first_frames_of_a_take_at_the_rate_of_the_set(tmp_path: Path, manifest: Manifest) -> None:
    write(tmp_path / "film.mkv", [image for n in range(4) for image in noise(10, n, 60 + 40 * n)], rate=20)
    cut = replace(manifest, parameters={"fit": "crop", "fps": 10.0})
    parts, _ = found(tmp_path / "film.mkv", cut, longest=3)
    assert [take.frames.shape for take in parts] == [(3, 32, 32, 1)] * 4
    np.testing.assert_allclose([take.frames.mean() for take in parts], [60, 100, 140, 180], atol=6)
    assert {take.fps for take in parts} == {10.0}


def test_damage_is_told_and_ends_the_last_take(tmp_path: Path, manifest: Manifest) -> None:
    folder = fill(tmp_path / "a", range(6))
    broken = folder / "0004.png"
    broken.write_bytes(broken.read_bytes()[:-40])
    parts, said = found(folder, manifest)
    assert [numbers(take) for take in parts] == [[0, 1, 2, 3]]
    assert said == [f"{folder}: 1 frames are damaged"]


def test_what_has_no_take_is_named(tmp_path: Path, manifest: Manifest) -> None:
    fill(tmp_path / "a", [0])
    with pytest.raises(ValueError, match="a: no two frames of it belong together"):
        found(tmp_path / "a", manifest)
