"""AE-Conv: frames as channels, no memory."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.bounds import require_at_least
from model.layers.over_time import over_time
from model.video_autoencoder.autoencoder import Autoencoder, Decoded, VideoAutoencoder
from model.video_autoencoder.layers import conv, conv_tanh_pool, up_conv


@dataclass(frozen=True)
class AEConv(Autoencoder):
    """Frames as channels, no memory."""

    inputs: int = 10
    """Frames seen at a time, at least 1. With longer clips the window slides."""
    hidden: int = 64
    """Filters of the middle layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, 1, "inputs", "hidden")

    @classmethod
    def small(cls) -> "AEConv":
        """See ModelConfig."""
        return cls(channels=3, kernel=3, filters=4, inputs=4, hidden=6)

    def build(self) -> "ConvAutoencoder":
        """The model, randomly initialised from torch's default generator."""
        return ConvAutoencoder(self)


class ConvAutoencoder(VideoAutoencoder[Tensor]):
    """The next frame from a window of the last `inputs` frames."""

    config: AEConv
    multiple = 2

    def __init__(self, config: AEConv) -> None:
        super().__init__(config)
        filters, hidden, kernel = config.filters, config.hidden, config.kernel
        self.layers = nn.Sequential(
            *conv_tanh_pool(config.inputs * config.channels, filters, kernel),
            conv(filters, hidden, kernel), nn.Tanh(),
            conv(hidden, filters, kernel), nn.Tanh(),
            *up_conv(filters, config.channels, kernel, config.output_bias),
        )  # fmt: skip

    @property
    def shortest(self) -> int:
        """A full window, and the frame that follows."""
        return self.config.inputs + 1

    def advance(
        self,
        state: Float[Tensor, "b s c h w"] | None,
        frames: Float[Tensor, "b t c h w"],
        step: int | None = None,
    ) -> tuple[Tensor, Decoded]:
        """One prediction for every full window, or for the last; the state is the frames that still matter.

        A roll-out may start from fewer frames than a window: before the first, everything stands still.
        """
        seen = frames if state is None else torch.cat([state, frames], 1)
        window = self.config.inputs
        lacking = max(0, window - seen.shape[1])
        seen = torch.cat([seen[:, :1].expand(-1, lacking, -1, -1, -1), seen], 1)
        first = seen.shape[1] - window if self.config.supervision == "last" else 0
        windows = seen[:, first:].unfold(1, window, 1).movedim(-1, 2).flatten(2, 3)
        return seen[:, seen.shape[1] - window + 1 :], {"output": over_time(self.layers, windows)}
