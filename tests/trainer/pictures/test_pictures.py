import io

import numpy as np
import torch
from PIL import Image

from trainer.pictures.picture import (
    HEAT,
    PALETTE,
    Strip,
    depth,
    gif,
    heat,
    labelled,
    png,
    rgb,
    sheet,
    side_by_side,
    tinted,
)


def test_frames_survive_the_way_through_floats() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    frames = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    np.testing.assert_array_equal(np.stack(rgb(frames)), pixels)
    grey = rgb(frames[:, :1])
    np.testing.assert_array_equal(grey[0], pixels[0, :, :, :1].repeat(3, axis=2))
    np.testing.assert_array_equal(rgb(torch.full((1, 1, 2, 2), 7.0))[0], 255)


def test_heat_runs_through_its_colours_and_is_monotone() -> None:
    quarter = torch.tensor([0, 0.25, 0.5, 0.75, 1.0]).square()  # the root is taken back
    np.testing.assert_array_equal(heat(quarter.view(1, 1, 5))[0][0], HEAT.astype(np.uint8))
    brightness = heat(torch.linspace(0, 1, 200).view(1, 1, 200))[0][0].astype(int).sum(axis=1)
    assert (np.diff(brightness) >= 0).all()


def test_labels_and_tints_have_the_colour_of_the_slot() -> None:
    picture = labelled(torch.tensor([[[0, 1, 2, 9]]]), PALETTE)[0][0]
    np.testing.assert_array_equal(picture, [[0, 0, 0], PALETTE[0], PALETTE[1], PALETTE[0]])
    np.testing.assert_array_equal(
        tinted(torch.tensor([[[0, 1.0]]]), PALETTE[2])[0][0], [[0, 0, 0], PALETTE[2]]
    )


def test_nearest_slot_hides_the_others_in_the_depth_picture() -> None:
    masks = torch.zeros(1, 2, 1, 3)
    masks[0, 0, 0, :2] = 1
    masks[0, 1, 0, 1:] = 1
    first_in_front = torch.eye(2)[None]
    left, middle, right = depth(masks, first_in_front)[0][0]
    np.testing.assert_array_equal(left, middle)
    left, middle, right = depth(masks, first_in_front.flip(2))[0][0]
    np.testing.assert_array_equal(middle, right)
    assert not np.array_equal(left, right)


def test_sheet_puts_pictures_under_their_frames() -> None:
    red, blue = (np.full((4, 4, 3), colour, np.uint8) for colour in ([255, 0, 0], [0, 0, 255]))
    picture = sheet([Strip("a", "", [red, red]), Strip("b", "", [blue], first=2)], 2, size=20, margin=50)
    assert picture.shape == (22 + 2 * 23, 50 + 2 * 23, 3)
    np.testing.assert_array_equal(picture[22 + 23 + 10, 50 + 23 + 10], [0, 0, 255])
    np.testing.assert_array_equal(picture[22 + 23 + 10, 50 + 10], [255, 255, 255])
    np.testing.assert_array_equal(picture[22 + 10, 50 + 10], [255, 0, 0])


def test_sheet_keeps_the_shape_of_pictures() -> None:
    wide, tall = np.full((2, 4, 3), 10, np.uint8), np.full((8, 4, 3), 20, np.uint8)
    picture = sheet([Strip("a", "", [wide]), Strip("b", "", [tall])], 1, size=20, margin=50, titles=False)
    assert picture.shape == (10 + 40 + 2 * 3, 50 + 23, 3)
    for top, height, level in ((0, 10, 10), (13, 40, 20)):
        assert (picture[top : top + height, 50:70] == level).all()


def test_side_by_side_shows_the_frames_that_all_rows_have() -> None:
    pictures = [np.full((2, 2, 3), i, np.uint8) for i in range(4)]
    rows = [Strip("x", "", pictures), Strip("y", "", pictures[:2], first=2)]
    moments = side_by_side(rows[::-1], scale=2, gap=1)
    assert [m.shape for m in moments] == [(4, 9, 3)] * 2
    assert [(m[0, 0, 0], m[0, -1, 0]) for m in moments] == [(0, 1), (1, 2)]
    apart = [Strip("x", "", pictures[:1]), Strip("y", "", pictures[:1], first=2)]
    assert side_by_side(apart) == []


def test_png_and_gif_hold_the_pictures() -> None:
    pictures = [np.full((6, 8, 3), colour, np.uint8) for colour in ([255, 0, 0], [0, 255, 0], [0, 0, 255])]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(pictures[1])))), pictures[1])
    moving = Image.open(io.BytesIO(gif(pictures)))
    assert getattr(moving, "n_frames", 0) == 3
    for i, picture in enumerate(pictures):
        moving.seek(i)
        np.testing.assert_array_equal(np.asarray(moving.convert("RGB")), picture)
