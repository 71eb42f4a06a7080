"""People before a fixed camera: squares that cross a fixed texture, of which everything is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_shards.clip import Clip
from data_shards.mistake import UserError
from data_shards.sources.foreground import background, foreground, pieces
from data_shards.sources.pedestrians import Pedestrians, truth_of
from tests.films import write

HEIGHT, WIDTH, SIDE, LENGTH = 64, 96, 9, 160
SPEEDS = ((1.3, 0.4), (-0.9, 0.7), (1.1, -0.8))  # pixels a frame
STARTS = ((5.0, 6.0), (70.0, 10.0), (30.0, 40.0))
LEVELS = (20, 40, 60)


def places() -> np.ndarray:
    """Upper left corners (t, n, x and y), reflected at the edges."""
    room = np.array([WIDTH - SIDE, HEIGHT - SIDE], float)
    free = np.array(STARTS) + np.arange(LENGTH)[:, None, None] * np.array(SPEEDS)
    return np.rint(room - np.abs(free % (2 * room) - room)).astype(int)


def texture() -> np.ndarray:
    coarse = np.random.default_rng(1).integers(120, 230, (HEIGHT // 8, WIDTH // 8))
    return coarse.repeat(8, 0).repeat(8, 1).astype(np.uint8)


def film() -> list[np.ndarray]:
    rng, images = np.random.default_rng(0), []
    for corners in places():
        image = texture().astype(int)
        for (x, y), level in zip(corners, LEVELS, strict=True):
            image[y : y + SIDE, x : x + SIDE] = level
        image = (image + rng.normal(0, 3, image.shape)).clip(0, 255).astype(np.uint8)
        images.append(np.stack([image] * 3, -1))
    return images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("street")
    write(folder / "street.mkv", film())
    lines = ["999,7,-50,-50,20,20,0"]  # a box that does not count
    for t, corners in enumerate(places()):
        lines += [f"{t + 1},{10 + i},{x},{y},{SIDE},{SIDE},1" for i, (x, y) in enumerate(corners)]
    (folder / "street.txt").write_text("\n".join(lines) + "\n")
    return folder


def street(folder: Path, **changed: Any) -> Pedestrians:
    usual: dict[str, Any] = {"input": (str(folder),), "size": 48, "boxes": str(folder), "fewest": 0}
    return Pedestrians(**(usual | changed))


def clips(source: Pedestrians, split: str = "train", count: int = 100) -> list[Clip]:
    return list(source.clips(split, count, 3))


def corner(clip: Clip) -> tuple[int, int]:
    window: Any = clip.facts["window"]
    return window[0], window[1]


def pieces_of(clip: Clip) -> list[int]:
    found: Any = clip.facts["pieces"]
    return list(found)


def test_what_moves_is_cut_out_where_it_is(folder: Path) -> None:
    """Pixels of the squares, turned around, and nothing else; boxes and ids are those of the file, in the window."""
    found = clips(street(folder))
    assert len(found) >= 20
    misses = total = 0
    for clip in found:
        x, y = corner(clip)
        first = int(str(clip.facts["first_frame"]))
        assert clip.facts["last_frame"] == first + 4
        for t, frame in enumerate(clip.frames[..., 0]):
            whole = np.zeros((HEIGHT, WIDTH), int)
            for (left, top), level in zip(places()[first + t], LEVELS, strict=True):
                whole[top : top + SIDE, left : left + SIDE] = 255 - level
            expected = whole[y : y + 48, x : x + 48]
            misses += int((np.abs(frame - expected) > 20).sum())
            total += int((expected > 0).sum())
        assert clip.boxes is not None
        assert clip.exists is not None
        for t, i in np.argwhere(clip.exists):
            ids: Any = clip.facts["ids"]
            left, top = places()[first + t, ids[i] - 10]
            assert clip.boxes[t, i].tolist() == [left - x, top - y, left - x + SIDE, top - y + SIDE]
    assert misses < 0.03 * total


def test_pieces_count_what_is_there_unless_squares_touch(folder: Path) -> None:
    """In frames that cut no square in two; 5 pixels apart they are closed into one."""
    apart = together = 0
    for clip in clips(street(folder)):
        for t, counted in enumerate(pieces_of(clip)):
            corners = places()[int(str(clip.facts["first_frame"])) + t] - corner(clip)
            inside = ((corners >= 0) & (corners + SIDE <= 48)).all(1)
            outside = ((corners >= 48) | (corners + SIDE <= 0)).any(1)
            if not (inside | outside).all():
                continue
            assert clip.exists is not None
            assert clip.exists[t].sum() == inside.sum()
            steps = np.abs(corners[inside][:, None] - corners[inside]).max(-1)
            if (steps[~np.eye(len(steps), dtype=bool)] > SIDE + 5).all():
                assert counted == inside.sum()
                apart += 1
            elif steps.min(initial=99, where=~np.eye(len(steps), dtype=bool)) < SIDE:
                assert counted < inside.sum()
                together += 1
    assert apart > 20
    assert together > 0  # who tells them apart does better


def test_the_number_of_objects_is_what_was_asked_for(folder: Path) -> None:
    for known in (str(folder), None):
        for clip in clips(street(folder, fewest=1, most=2, boxes=known)):
            counts = pieces_of(clip) if clip.exists is None else clip.exists.sum(1).tolist()
            assert 1 <= max(counts) <= 2
            assert (clip.boxes is None) == (known is None)
    assert max(clip.frames.max() for clip in clips(street(folder, fewest=1))) > 150


def test_splits_are_ranges_of_time_and_few_clips_are_from_all_of_it(folder: Path) -> None:
    starts = {
        split: [int(str(c.facts["first_frame"])) for c in clips(street(folder), split)]
        for split in ("train", "val", "test")
    }
    assert max(starts["train"]) + 5 <= min(starts["val"]) - 10  # half a second
    assert max(starts["val"]) + 5 <= min(starts["test"]) - 10
    few = [int(str(clip.facts["first_frame"])) for clip in clips(street(folder), count=6)]
    assert len(few) == 6
    assert few == sorted(few)
    assert set(few) <= set(starts["train"])
    assert max(few) > 60


def test_frames_are_reduced_to_the_height_and_boxes_with_them(folder: Path) -> None:
    for clip in clips(street(folder, height=32, size=32, least=3)):
        assert clip.boxes is not None
        assert clip.exists is not None
        widths = (clip.boxes[..., 2] - clip.boxes[..., 0])[clip.exists > 0]
        np.testing.assert_allclose(widths, SIDE / 2)


def test_the_background_is_what_is_there_most_of_the_time() -> None:
    frames = np.full((30, 20, 20), 100, np.uint8)
    for t in range(30):
        frames[t, 5:10, t % 15 : t % 15 + 5] = 10
    still = background(frames)
    assert (still == 100).all()
    masks = foreground(frames, still, 30)
    assert [pieces(mask, 12).tolist() for mask in masks[:3]] == [[[t, 5, t + 5, 10]] for t in range(3)]
    assert not len(pieces(masks[0], 26))
    frames[0, 0, 0] = frames[0, 15, 10] = 0  # specks
    assert foreground(frames, still, 30)[0].sum() == 25


def test_objects_are_there_by_half_of_their_boxes() -> None:
    boxes = [{4: (0.0, 0.0, 20.0, 20.0)}, {4: (0.0, 0.0, 20.0, 20.0), 9: (100.0, 0.0, 120.0, 20.0)}]
    truth, ids = truth_of(boxes, 0.5, (5, 0), 30)  # half of the first, none of the second
    assert ids == [4]
    assert truth.exists is not None
    assert truth.exists.tolist() == [[1], [1]]
    assert truth.visibility is not None
    assert truth.visibility.tolist() == [[0.5], [0.5]]
    assert truth_of(boxes, 0.5, (6, 0), 30)[1] == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 65, "height": 65}, r"is 96 x 64 pixels; size 65 needs more, or height does"),
        ({"threshold": 255}, "threshold 255 must be 1 to 254"),
        ({"most": 0, "fewest": 1}, "most 0 must be fewest, which is 1, to 32"),
        ({"height": 40}, "height 40 must be 48 to"),
        ({"history": 4}, "history 4 must be 20 to"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        clips(street(folder, **changed))


def test_boxes_that_are_missing_or_no_numbers_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no street.txt there, which .*street.mkv needs"):
        clips(street(folder, boxes=str(tmp_path)))
    (tmp_path / "street.txt").write_text("1,2,3,4,5,6\n1;2;3\n")
    with pytest.raises(UserError, match=r"street.txt, line 2: '1;2;3' must be frame"):
        clips(street(folder, boxes=str(tmp_path)))
