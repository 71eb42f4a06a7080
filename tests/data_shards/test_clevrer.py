"""CLEVRER's files, synthesised: videos with annotations and masks in COCO's run lengths; what is wrong with others."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from data_shards.sources.clevrer import Clevrer
from data_shards.sources.run_lengths import decode_runs, letters_to_runs

HEIGHT, WIDTH, LENGTH, SIZE = 32, 48, 12, 16
KINDS = [("red", "metal", "cube"), ("blue", "rubber", "sphere"), ("red", "rubber", "cube")]
PAINTS = np.array([(220, 30, 30), (30, 30, 220), (130, 20, 90)], np.uint8)


def encoded(mask: np.ndarray) -> dict[str, Any]:
    """A mask as COCO spells it: runs of the columns, and their letters, by its own rule."""
    runs = [len(list(run)) for _, run in groupby(mask.T.ravel())]
    runs = [0, *runs] if mask[0, 0] else runs
    letters = ""
    for place, run in enumerate(runs):
        number, more = run - (runs[place - 2] if place > 2 else 0), True
        while more:
            code, number = number & 31, number >> 5
            more = number != (-1 if code & 16 else 0)
            letters += chr(48 + code + 32 * more)
    return {"size": list(mask.shape), "counts": letters}


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(objects, frames, height, width) masks, and whether each is in view. The first enters from the right."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((3, LENGTH, HEIGHT, WIDTH), bool)
    for i in range(3):
        x, y = rng.integers(10, 30), 2 + 10 * i
        for t in range(LENGTH):
            place = WIDTH - 4 * t if i == 0 else x + t // 2
            masks[i, t, y : y + 8, max(place, 0) : place + 8] = True
    there: Any = masks.any((2, 3))
    return masks, there


def write_clevrer(folder: Path, numbers: tuple[int, ...], without: tuple[int, ...] = ()) -> None:
    for number in numbers:
        masks, there = scene(number)
        for name in ("videos", "annotations", "masks"):
            (folder / name / "part").mkdir(parents=True, exist_ok=True)
        with av.open(str(folder / f"videos/part/video_{number:05d}.mp4"), "w") as container:
            stream = container.add_stream("libx264rgb", rate=25)
            stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, "rgb24", {"qp": "0"}
            for t in range(LENGTH):
                image = np.full((HEIGHT, WIDTH, 3), 20 + number % 50, np.uint8)
                for i in range(3):
                    image[masks[i, t]] = PAINTS[i]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        if number in without:
            continue
        names = dict(zip(("color", "material", "shape"), zip(*KINDS, strict=True), strict=True))
        each = [{key: values[i] for key, values in names.items()} for i in range(3)]
        trajectory = [
            {
                "frame_id": t,
                "objects": [{"object_id": i, "inside_camera_view": bool(there[i, t])} for i in range(3)],
            }
            for t in range(LENGTH)
        ]
        said = {
            "object_property": [{"object_id": i} | each[i] for i in range(3)],
            "motion_trajectory": trajectory,
            "collision": [{"frame_id": 4, "object_ids": [0, 1]}],
        }
        (folder / f"annotations/part/annotation_{number:05d}.json").write_text(json.dumps(said))
        # In no order, the second missing in frame 3, a smaller double of the third in frame 5.
        frames = []
        for t in range(LENGTH):
            found = [
                each[i] | {"mask": encoded(masks[i, t])}
                for i in (2, 0, 1)
                if there[i, t] and (i, t) != (1, 3)
            ]
            if t == 5:
                double = np.zeros((HEIGHT, WIDTH), bool)
                double[:3, 10:13] = True
                found.append(each[2] | {"mask": encoded(double)})
            frames.append({"objects": found})
        (folder / f"masks/part/proposal_{number:05d}.json").write_text(json.dumps({"frames": frames}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("clevrer")
    write_clevrer(place, (0, 7, 9_999, 10_000, 14_999, 15_000, 19_999), without=(7, 15_000))
    return place


def made(folder: Path, **changes: Any) -> Clevrer:
    given: dict[str, Any] = {"annotations": str(folder / "annotations"), "masks": str(folder / "masks")}
    small: dict[str, Any] = {"input": str(folder / "videos"), "size": SIZE, "frames": 4, "length": LENGTH}
    return Clevrer(**small | given | changes)


def test_clips_are_the_middle_of_the_videos_with_ids_and_who_is_in_view(folder: Path) -> None:
    clips = list(made(folder).clips("train", 100, 0))
    assert sorted(clip.key for clip in clips) == [
        f"video-{n:05d}-{t:03d}" for n in (0, 9999) for t in (0, 4, 8)
    ]
    for clip in clips:
        facts: Any = clip.facts
        first, masks, there = facts["first_frame"], *scene(facts["video"])
        times = slice(first, first + 4)
        middle = masks[:, times, :, 8:40]
        owner = np.full(middle.shape[1:], 0)
        for i in range(3):
            owner[middle[i]] = i + 1
        owner[np.arange(LENGTH)[times] == 3] *= (
            owner[np.arange(LENGTH)[times] == 3] != 2
        )  # no mask of the second
        np.testing.assert_array_equal(clip.visible_ids, owner[:, 1::2, 1::2])
        np.testing.assert_array_equal(clip.exists, there[:, times].T)
        plain = np.where(owner[..., None], PAINTS[owner - 1], 20 + facts["video"] % 50)
        small = plain.reshape(4, SIZE, 2, SIZE, 2, 3).mean((2, 4))
        kept = np.arange(LENGTH)[times] != 3
        assert abs(small - clip.frames)[kept].max() < 3
        assert [one["color"] for one in facts["objects"]] == ["red", "blue", "red"]
        # In view and without a mask: the second in frame 3, and the first where it is beside the middle.
        lacking = there[:, times].T & ~(clip.visible_ids[:, None] == np.arange(1, 4)[:, None, None]).any(
            (2, 3)
        )
        assert facts["without_mask"] == lacking.sum() >= (first == 0)


def test_splits_are_the_official_ones_and_videos_without_words_are_left_out(folder: Path) -> None:
    source = made(folder)
    numbers = {
        split: {clip.facts["video"] for clip in source.clips(split, 99, 1)}
        for split in ("train", "val", "test")
    }
    assert numbers == {"train": {0, 9999}, "val": {10_000, 14_999}, "test": {19_999}}
    left: Any = source.statistics()["inputs_left_out"]
    assert left["videos of which nothing is said"]["count"] == 2
    alone = made(folder, annotations=None, masks=None)
    assert {clip.facts["video"] for clip in alone.clips("train", 99, 1)} == {0, 7, 9999}
    assert next(alone.clips("test", 1, 0)).visible_ids is None
    assert len(list(source.clips("train", 2, 0))) == 2


def test_ids_without_annotations_are_by_name(folder: Path) -> None:
    by_name = np.array([0, 2, 1, 3])  # blue rubber sphere, red metal cube, red rubber cube
    both = zip(
        made(folder).clips("val", 99, 0), made(folder, annotations=None).clips("val", 99, 0), strict=True
    )
    for clip, named in both:
        assert named.exists is None
        np.testing.assert_array_equal(named.visible_ids, by_name[clip.visible_ids])


def test_a_span_in_which_all_are_in_view(folder: Path) -> None:
    clips = list(made(folder, in_view=True, spacing=2).clips("train", 99, 0))
    assert len(clips) == 2
    for clip in clips:
        assert clip.facts["first_frame"] == 1
        assert clip.exists.all()
    assert list(made(folder, in_view=True, frames=LENGTH).clips("train", 99, 0)) == []
    assert list(made(folder, fewest=4).clips("train", 99, 0)) == []
    assert len(list(made(folder, fewest=3, most=3).clips("train", 99, 0))) == 6


def test_videos_of_another_length_are_left_out(folder: Path) -> None:
    source = made(folder, length=LENGTH + 1)
    assert list(source.clips("train", 99, 0)) == []
    left: Any = source.statistics()["inputs_left_out"]
    assert left["videos of another length"]["count"] == 2


def test_letters_are_cocos() -> None:
    """An example of COCO's own tools."""
    runs = [6, 1, 40, 4, 5, 4, 5, 4, 21]
    assert letters_to_runs("61X13mN000`0") == runs
    mask = decode_runs({"size": [9, 10], "counts": "61X13mN000`0"})
    assert mask.sum() == 1 + 4 + 4 + 4
    np.testing.assert_array_equal(mask, decode_runs({"size": [9, 10], "counts": runs}))
    assert mask[6, 0]
    rng = np.random.default_rng(0)
    for shape in ((3, 5), (64, 40), (320, 480)):
        mask = rng.random(shape) < rng.random()
        np.testing.assert_array_equal(decode_runs(encoded(mask)), mask)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (None, "has size None"),
        ({"size": [0, 4], "counts": []}, "needs two numbers"),
        ({"size": [2, 2], "counts": [1, 2]}, "do not add up to 2 x 2"),
        ({"size": [2, 2], "counts": [5, -1]}, "do not add up"),
        ({"size": [2, 2], "counts": "é"}, "not spelt"),
        ({"size": [2, 2], "counts": "X"}, "ends within a number"),
    ],
)
def test_masks_that_are_none_are_refused(mask: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_runs(mask)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "annotations/part/annotation_00000.json",
            "{}",
            "annotation_00000.json: is no annotation of CLEVRER",
        ),
        ("annotations/part/annotation_00000.json", "[1", "is no annotation of CLEVRER"),
        (
            "masks/part/proposal_00000.json",
            '{"frames": [{"objects": [{}]}]}',
            "is no proposal of CLEVRER .'color'",
        ),
    ],
)
def test_documents_that_are_none_are_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    write_clevrer(tmp_path, (0,))
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        next(made(tmp_path).clips("train", 1, 0))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"size": 4}, "size 4"),
        ({"frames": 13}, "longer than length 12"),
        ({"most": 1, "fewest": 2}, "most 1 must be fewest"),
        ({"annotations": None, "in_view": True}, "annotations are needed"),
        ({"spacing": 0}, "spacing 0"),
    ],
)
def test_bad_parameters_are_named(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        made(Path("none"), **bad)


def test_a_folder_without_videos_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no video_#####\.mp4 there"):
        next(Clevrer(input=str(tmp_path)).clips("train", 1, 0))
