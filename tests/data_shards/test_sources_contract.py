"""What every source of SOURCES must do, with small parameters; a new one is covered without an edit here."""

import json
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from data_shards.clip import FIELDS, Clip
from data_shards.encoding import decode, encode
from data_shards.sources import SOURCES, Source
from data_shards.sources.splits import SPLITS
from tests.clips import sizes_of
from tests.data_shards.test_camvid import write_camvid
from tests.data_shards.test_clevrer import LENGTH, write_clevrer

Make = Callable[[], Source]


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of a square that goes round in noise, no two frames equal; a list of them as HMDB-51 has."""
    folder = tmp_path_factory.mktemp("footage")
    rng = np.random.default_rng(0)
    names = ("a_round_0.mkv", "b_round_0.mkv", "c_round_0.mkv")
    for name in names:
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 40, 32, "yuv444p"
            for number in range(150):
                image = rng.integers(0, 30, (32, 40, 3)).astype(np.uint8)
                x, y = 16 + 10 * np.cos(number / 5), 12 + 8 * np.sin(number / 5)
                image[int(y) : int(y) + 8, int(x) : int(x) + 8] += 170
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    (folder / "round_test_split1.txt").write_text(
        "".join(f"{n} {i}\n" for n, i in zip(names, "112", strict=True))
    )
    return folder


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random pictures with labels in CamVid's layout, two frames in each split."""
    folder = tmp_path_factory.mktemp("camvid")
    for split, numbers in {"train": (30, 60), "val": (90, 120), "test": (150, 180)}.items():
        write_camvid(folder, split, [f"A_{number:04d}" for number in numbers])
    return folder


@pytest.fixture(scope="module")
def clevrer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of each split, with annotations and masks."""
    folder = tmp_path_factory.mktemp("clevrer")
    write_clevrer(folder, (3, 5, 10_007, 10_011, 15_021, 15_042))
    return folder


@pytest.fixture(params=SOURCES)
def make(request: pytest.FixtureRequest, footage: Path, camvid: Path, clevrer: Path) -> Make:
    """Makes the source anew with small parameters, of those that it has."""
    small: dict[str, object] = {"size": 16, "frames": 5, "input": (str(footage),)}
    if request.param == "camvid":
        small |= {"width": 16, "height": 16, "input": str(camvid)}
    if request.param == "clevrer":
        small |= {name: str(clevrer / name) for name in ("annotations", "masks")}
        small |= {"length": LENGTH, "input": str(clevrer / "videos")}
    source: Any = SOURCES[request.param]
    names = {parameter.name for parameter in fields(source)}
    return lambda: source(**{name: value for name, value in small.items() if name in names})


def some(source: Source, split: str, count: int = 3, seed: int = 0) -> list[Clip]:
    return list(islice(source.clips(split, count, seed), 10))


def test_is_a_frozen_dataclass_of_plain_parameters(make: Make) -> None:
    source: Any = make()
    with pytest.raises(AttributeError):
        source.size = 3
    assert is_dataclass(source)
    assert source == make()
    assert json.loads(json.dumps(asdict(source)))
    assert (type(source).__doc__ or "").strip()


def test_clips_are_whole_and_alike(make: Make) -> None:
    clips = [clip for split in SPLITS for clip in some(make(), split)]
    assert len(clips) >= 3
    assert len({clip.key for clip in clips}) == len(clips)
    assert len({(clip.frames.shape, clip.frames.dtype) for clip in clips}) == 1
    present = {tuple(name for name in FIELDS if getattr(clip, name) is not None) for clip in clips}
    assert len(present) == 1
    for clip in clips:
        assert clip.frames.shape[:3] == (5, 16, 16)
        assert clip.frames.shape[3] in (1, 3)
        assert set(clip.key) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
        stored = decode(clip.key, encode(clip), sizes_of(clip))
        assert stored.facts == clip.facts
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(stored, name), getattr(clip, name))


def test_the_same_parameters_and_seed_give_the_same_clips(make: Make) -> None:
    for one, other in zip(some(make(), "train", 3, 5), some(make(), "train", 3, 5), strict=True):
        assert one.key == other.key
        np.testing.assert_array_equal(one.frames, other.frames)


def test_splits_share_no_frame(make: Make) -> None:
    # A frame without anything on it is like any other.
    frames = {
        split: {f.tobytes() for clip in some(make(), split, 10) for f in clip.frames if f.any()}
        for split in SPLITS
    }
    assert all(frames.values())
    assert sum(map(len, frames.values())) == len(set.union(*frames.values()))


def test_count_is_the_most_that_comes(make: Make) -> None:
    assert some(make(), "train", 0) == []
    assert len(some(make(), "train", 2)) == 2


def test_unknown_splits_are_named(make: Make) -> None:
    with pytest.raises(ValueError, match="split 'dev' is unknown; use one of train, val, test"):
        some(make(), "dev")


def test_truth_fits_the_frames(make: Make) -> None:
    for clip in some(make(), "val"):
        t, h, w, c = clip.frames.shape
        arrays = {name: array for name in FIELDS if (array := getattr(clip, name)) is not None}
        counts = {
            array.shape[axis]
            for name, array in arrays.items()
            if (axis := FIELDS[name].axis("n")) is not None
        }
        assert len(counts) <= 1
        n = max(counts, default=0)
        for name, array in arrays.items():
            assert array.shape == FIELDS[name].shape({"t": t, "h": h, "w": w, "c": c, "n": n}), name
        if clip.visible_ids is not None:
            assert clip.visible_ids.max() <= n
        if clip.depth_ranks is not None:
            assert sorted(clip.depth_ranks) == list(range(n))
        if n and clip.visible_ids is not None and clip.amodal_masks is not None:
            shown = np.take_along_axis(
                clip.amodal_masks, np.maximum(clip.visible_ids.astype(int), 1)[:, None] - 1, 1
            )
            assert (shown[:, 0][clip.visible_ids > 0] > 0).all()
