"""Predictions that need no learning: what a trained model has to beat."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from model.bounds import Unfit
from model.interface import ModelConfig, ModelOutput, Video, VideoModel, Views


@dataclass(frozen=True)
class Config(ModelConfig):
    """Copy-last has nothing to choose."""

    @classmethod
    def small(cls) -> "Config":
        """See ModelConfig."""
        return cls()

    def build(self) -> "CopyLast":
        """The model; it has no parameters."""
        return CopyLast()


class CopyLast(VideoModel):
    """The next frame equals this one."""

    def forward(self, video: Video, step: int) -> ModelOutput:
        """Mean absolute error of predicting frames 2..T by frames 1..T-1; there is nothing to differentiate."""
        if video.frames.shape[1] < 2:
            raise Unfit(
                "clips have 1 frame, copy-last needs at least 2: the second is compared with the first"
            )
        prediction = video.frames[:, :-1]
        loss = (prediction - video.frames[:, 1:]).abs().mean()
        return ModelOutput(loss, {"reconstruction": loss}, lambda: Views(prediction=prediction))

    def predict(self, video: Video, horizon: int) -> Float[Tensor, "b horizon c h w"]:
        """The last frame, `horizon` times."""
        if horizon < 1:
            raise ValueError(f"horizon: got {horizon}, needs at least 1")
        return video.frames[:, -1:].expand(-1, horizon, -1, -1, -1)
