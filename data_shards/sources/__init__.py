"""Origins of clips, one module each, a frozen dataclass of parameters with `clips`. SOURCES names those of `build`."""

from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

from data_shards.clip import Clip
from data_shards.sources.bouncing_balls import BouncingBalls
from data_shards.sources.camvid import CamVid
from data_shards.sources.clevrer import Clevrer
from data_shards.sources.hmdb51 import Hmdb51
from data_shards.sources.moving_mnist import EMBEDDED_DIGITS as EMBEDDED_DIGITS
from data_shards.sources.moving_mnist import MovingMnist
from data_shards.sources.multi_mnist import MultiMnist
from data_shards.sources.pedestrians import Pedestrians
from data_shards.sources.sprites import Sprites
from data_shards.sources.video import VideoFiles


class Source(Protocol):
    """Parameters of one origin of clips: a frozen dataclass whose fields are the options of `build`.

    The first paragraph of its docstring says what it is, the string under each field what that means: `build --help`
    shows them.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def clips(self, split: str, count: int, seed: int) -> Iterator[Clip]:
        """At most `count` clips of `split` in an order that (parameters, seed) fix; UserError names a bad input."""


SOURCES: dict[str, type[Source]] = {
    "sprites": Sprites,
    "moving-mnist": MovingMnist,
    "multi-mnist": MultiMnist,
    "bouncing-balls": BouncingBalls,
    "video": VideoFiles,
    "hmdb51": Hmdb51,
    "camvid": CamVid,
    "clevrer": Clevrer,
    "pedestrians": Pedestrians,
}
