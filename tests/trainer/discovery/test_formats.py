"""Masks and tracks as others read them: pycocotools, Pillow, and a plain loop."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco

from trainer.discovery.formats import CocoMasks, IndexedPngs, MotTracks, run_lengths
from trainer.discovery.sighting import Sighting, box_of

# Theirs, about numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=100, deadline=None)
@given(mask=shapes.flatmap(lambda shape: arrays(bool, shape)))
def test_run_lengths_are_those_of_coco(mask: np.ndarray) -> None:
    written = json.loads(json.dumps(run_lengths(mask)))
    packed = coco.frPyObjects(written, *mask.shape)
    np.testing.assert_array_equal(coco.decode(packed), mask)
    assert sum(written["counts"]) == mask.size
    assert all(count > 0 for count in written["counts"][1:])


@settings(max_examples=100, deadline=None)
@given(mask=shapes.flatmap(lambda shape: arrays(bool, shape)).filter(lambda mask: mask.any()))
def test_boxes_are_those_of_coco(mask: np.ndarray) -> None:
    assert list(box_of(mask)) == coco.toBbox(coco.encode(np.asfortranarray(mask.astype(np.uint8)))).tolist()


def sighting(number: int, ids: list[list[int]]) -> Sighting:
    array = np.array(ids, np.uint16)
    return Sighting(number, number / 10, 0, np.zeros((*array.shape, 3), np.uint8), array, None)


SEEN = [
    sighting(3, [[0, 1, 1], [2, 2, 1]]),
    sighting(4, [[0, 0, 0], [0, 0, 0]]),
    sighting(5, [[300, 0, 0], [0, 0, 2]]),
]


def test_files_say_what_was_seen(tmp_path: Path) -> None:
    for output in (IndexedPngs(tmp_path), CocoMasks(tmp_path), MotTracks(tmp_path)):
        for seen in SEEN:
            output.add(seen)
        output.close()
    assert (tmp_path / "tracks.txt").read_text().splitlines() == [
        "4,1,1,0,2,2,1,-1,-1,-1",
        "4,2,0,1,2,1,1,-1,-1,-1",
        "6,2,2,1,1,1,1,-1,-1,-1",
        "6,300,0,0,1,1,1,-1,-1,-1",
    ]
    with Image.open(tmp_path / "masks" / "000003.png") as image:
        assert image.mode == "P"
        assert np.asarray(image).tolist() == [[0, 1, 1], [2, 2, 1]]
        assert image.getpalette()[:3] == [0, 0, 0]
        assert image.convert("RGB").getpixel((1, 0)) == (255, 107, 107)
    with Image.open(tmp_path / "masks" / "000005.png") as image:
        assert np.asarray(image)[0, 0] == 300 - 255
    written = json.loads((tmp_path / "masks.json").read_text())
    assert [image["id"] for image in written["images"]] == [3, 4, 5]
    assert written["images"][0] == {"id": 3, "file_name": "masks/000003.png", "height": 2, "width": 3}
    assert [(each["image_id"], each["track_id"], each["area"]) for each in written["annotations"]] == [
        (3, 1, 3), (3, 2, 2), (5, 2, 1), (5, 300, 1),
    ]  # fmt: skip
    for each in written["annotations"]:
        ids = next(seen.ids for seen in SEEN if seen.number == each["image_id"])
        decoded = coco.decode(coco.frPyObjects(each["segmentation"], 2, 3))
        np.testing.assert_array_equal(decoded, ids == each["track_id"])


def test_a_video_without_objects_is_sound_json(tmp_path: Path) -> None:
    output = CocoMasks(tmp_path)
    output.add(SEEN[1])
    output.close()
    written = json.loads((tmp_path / "masks.json").read_text())
    assert written["annotations"] == []
    assert len(written["images"]) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_no_frame_or_one(tmp_path: Path, count: int) -> None:
    output = CocoMasks(tmp_path)
    for seen in SEEN[:count]:
        output.add(seen)
    output.close()
    assert len(json.loads((tmp_path / "masks.json").read_text())["images"]) == count
