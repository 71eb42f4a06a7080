"""Takes of any video, as a data set would have them: for those who look at footage that is no data set."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from data_shards.manifest import Manifest
from data_shards.mistake import UserError
from data_shards.sources.container import EXTENSIONS as EXTENSIONS
from data_shards.sources.decoding import Damaged
from data_shards.sources.footage import find_footage
from data_shards.sources.inventory import Inventory, told
from data_shards.sources.picture_folder import RATE
from data_shards.sources.shots import DecodedFrame, at_rate, decode, prove
from data_shards.sources.video import VideoFiles


@dataclass(frozen=True)
class Take:
    """Consecutive frames of one take: two at least, `fps` a second, of the video `name` (without folder and ending)."""

    name: str
    frames: UInt8[np.ndarray, "t h w c"]
    fps: float


def takes(place: str, manifest: Manifest, longest: int, tell: Callable[[str], None]) -> Iterator[Take]:
    """The takes of the videos at `place`, with size, channels, rate and fit of the set's clips.

    Args:
        place: a file, a folder of files or of numbered pictures, or a pattern; a path or URL.
        manifest: of the set. What only a set of videos says (rate, fit, cut) is that source's default for others.
        longest: frames of a take; what comes later of it is left out.
        tell: called with a sentence where a video is damaged.

    Raises:
        UserError: not a video, or no two frames of it belong together.
        StorageError: the store refuses.
    """
    _, height, width, channels = manifest.shape
    how = manifest.parameters
    fps, fit, cut = how.get("fps"), how.get("fit", VideoFiles.fit), how.get("cut", VideoFiles.cut)
    found = False
    account = Inventory()
    files = [
        proven
        for footage in find_footage((place,), fps or RATE, account)
        if (proven := prove(footage, account))
    ]
    account.check(skip=bool(files))
    for line in told(account.summary()):
        tell(f"{place}: {line}")
    for footage, extent in files:
        rate = extent.rate
        frames = at_rate(decode(footage, (height, width), fit, channels == 1, cut), fps, rate)
        for shot in _shots(frames, longest, tell):
            if len(shot) > 1:
                found = True
                yield Take(Path(footage.name).stem, np.stack([frame.image for frame in shot]), fps or rate)
    if not found:
        raise UserError(f"{place}: no two frames of it belong together")


def _shots(
    frames: Iterator[DecodedFrame], longest: int, tell: Callable[[str], None]
) -> Iterator[list[DecodedFrame]]:
    """Frames by take, the first `longest` of each; damage ends the last one."""
    shot: list[DecodedFrame] = []
    try:
        for frame in frames:
            if shot and frame.shot != shot[-1].shot:
                yield shot
                shot = []
            if len(shot) < longest:
                shot.append(frame)
    except Damaged as error:
        tell(str(error))
    if shot:
        yield shot
