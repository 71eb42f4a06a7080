"""Boxes as rows of pictures: where objects were found, an object in one colour for as long as it is known."""

import numpy as np
from PIL import Image, ImageDraw

from model.interface import Video, Views
from trainer.pictures.picture import PALETTE, Picture, Strip, rgb

SIDE = 256  # of a picture, about, pixels
WHITE = (255, 255, 255)


def box_strips(views: Views, video: Video) -> list[Strip]:
    """The clip with the boxes that were found, of one clip; [] where there are none."""
    if views.boxes is None:
        return []
    pictures = rgb(video.frames[0, : views.boxes.shape[1]])
    about = "where each object is, in its colour for as long as it is known; the truth in white"
    return [Strip("boxes", about, boxed(pictures, views, video), drawn=True, place="view")]


def sample_strip(views: Views, number: int) -> Strip:
    """What the prior of a model dreams up: its views, whose prediction is all frames."""
    assert views.prediction is not None
    objects = f"{number} object" + "s" * (number != 1)
    about = f"drawn from the prior, which sees no frame, with {objects} at first"
    return Strip("sample", about, boxed(rgb(views.prediction[0]), views, None), drawn=True)


def boxed(pictures: list[Picture], views: Views, video: Video | None) -> list[Picture]:
    """The pictures enlarged, with a frame around each object that is there, and a thin one around each true object."""
    assert views.boxes is not None
    truth = None if video is None else video.truth
    found = []
    for t, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        scale = max(1, round(SIDE / max(height, width)))
        image = Image.fromarray(picture).resize((width * scale, height * scale), Image.Resampling.NEAREST)
        draw = ImageDraw.Draw(image)
        if truth is not None and truth.boxes is not None:
            there = truth.present if truth.exists is None else truth.exists[:, t]
            for i, box in enumerate(truth.boxes[0, t].tolist()):
                if there is None or there[0, i]:
                    _frame(draw, box, WHITE, scale, 1)
        for k, box in enumerate(views.boxes[0, t].tolist()):
            if views.presence is not None and views.presence[0, t, k] <= 0.5:
                continue
            number = k if views.identities is None else int(views.identities[0, t, k]) - 1
            _frame(draw, box, tuple(PALETTE[number % len(PALETTE)].tolist()), scale, 4)
        found.append(np.asarray(image))
    return found


def _frame(
    draw: ImageDraw.ImageDraw, box: list[float], colour: tuple[int, ...], scale: int, width: int
) -> None:
    x0, y0, x1, y1 = (x * scale for x in box)
    draw.rectangle([min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)], outline=colour, width=width)
