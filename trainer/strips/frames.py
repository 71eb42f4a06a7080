"""Frames as rows of pictures: what is shown, predicted and dreamt up."""

from jaxtyping import Float
from torch import Tensor

from model.interface import Video, Views
from trainer.pictures.picture import Strip, heat, rgb


def frame_strips(views: Views, video: Video) -> list[Strip]:
    """The clip; predictions and their errors, beside the error of copying the last frame."""
    seen = Strip("frames", "what the model is shown, frame by frame", rgb(video.frames[0]), place="film")
    if views.prediction is None:
        return [seen]
    guess = views.prediction[0]
    first = len(video.frames[0]) - len(guess)
    error = (guess - video.frames[0, first:]).abs().mean(1)
    moving = max(first, 1)  # before the first frame there is none to copy
    still = (video.frames[0, moving:] - video.frames[0, moving - 1 : -1]).abs().mean(1)
    about = "each frame as predicted from the frames before it"
    return [
        seen,
        Strip("prediction", about, rgb(guess), first + 1, place="film"),
        Strip("error", "of the prediction: black is none, white is wrong", heat(error), first + 1),
        Strip("error of copying", "the same, for copying the last frame", heat(still), moving + 1),
    ]


def rollout_strip(rollout: Float[Tensor, "1 horizon c h w"], seen: int) -> Strip:
    """Frames that the model dreams up after having seen the first `seen` frames."""
    return Strip("rollout", f"frames {seen + 1} on, from the first {seen} alone", rgb(rollout[0]), seen + 1)
