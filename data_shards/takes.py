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
from data_shards.sources.shots import STILL as STILL
from data_shards.sources.shots import DecodedFrame as DecodedFrame
from data_shards.sources.shots import at_rate, decode, prove
from data_shards.sources.shots import moving_share as moving_share
from data_shards.sources.small_picture import Fit as Fit
from data_shards.sources.video import VideoFiles


@dataclass(frozen=True)
class Film:
    """A video frame by frame: `fps` a second, about `length` of them; its name is without folder and ending."""

    name: str
    fps: float
    length: int
    frames: Iterator[DecodedFrame]


@dataclass(frozen=True)
class Take:
    """Consecutive frames of one take: two at least, `fps` a second, of the video `name`."""

    name: str
    frames: UInt8[np.ndarray, "t h w c"]
    fps: float


def films(place: str, manifest: Manifest, tell: Callable[[str], None], whole: bool = False) -> Iterator[Film]:
    """The videos at `place`, with size, channels, rate and fit of the set's clips.

    Args:
        place: a file, a folder of files or of numbered pictures, or a pattern; a path or URL.
        manifest: of the set. What only a set of videos says (rate, fit, cut) is that source's default for others.
        tell: called with a sentence where a video is damaged.
        whole: give frames in their own size too.

    Raises:
        UserError: not a video.
        StorageError: the store refuses.
    """
    _, height, width, channels = manifest.shape
    fps, cut = manifest.parameters.get("fps"), manifest.parameters.get("cut", VideoFiles.cut)
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
        decoded = decode(footage, (height, width), fit_of(manifest), channels == 1, cut, whole)
        rate = fps or extent.rate
        length = round(extent.packets * rate / extent.rate)
        frames = _until_damage(at_rate(decoded, fps, extent.rate), tell)
        yield Film(Path(footage.name).stem, rate, length, frames)


def fit_of(manifest: Manifest) -> Fit:
    """How frames of videos become those of the set."""
    fit: Fit = manifest.parameters.get("fit", VideoFiles.fit)
    return fit


def takes(place: str, manifest: Manifest, longest: int, tell: Callable[[str], None]) -> Iterator[Take]:
    """The takes of the videos at `place`; the first `longest` frames of each. Arguments and errors as of `films`.

    Raises:
        UserError: or no two frames of it belong together.
    """
    found = False
    for film in films(place, manifest, tell):
        for shot in _shots(film.frames, longest):
            if len(shot) > 1:
                found = True
                yield Take(film.name, np.stack([frame.image for frame in shot]), film.fps)
    if not found:
        raise UserError(f"{place}: no two frames of it belong together")


def _until_damage(frames: Iterator[DecodedFrame], tell: Callable[[str], None]) -> Iterator[DecodedFrame]:
    """The frames; what is wrong with them is told behind the last one."""
    try:
        yield from frames
    except Damaged as error:
        tell(str(error))


def _shots(frames: Iterator[DecodedFrame], longest: int) -> Iterator[list[DecodedFrame]]:
    """Frames by take, the first `longest` of each."""
    shot: list[DecodedFrame] = []
    for frame in frames:
        if shot and frame.shot != shot[-1].shot:
            yield shot
            shot = []
        if len(shot) < longest:
            shot.append(frame)
    if shot:
        yield shot
