"""Video files, and folders of numbered pictures, named by paths, folders, patterns or URLs."""

import io
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from data_shards.mistake import UserError
from data_shards.sources.picture_folder import PICTURES, RATE, PictureFolder, picture_folders
from data_shards.storage.place import canonical, check_url, open_store

EXTENSIONS = (".avi", ".mkv", ".mp4", ".webm")


@dataclass(frozen=True)
class Footage:
    """The file `name` below the folder or bucket `root`. The name alone says nothing about the machine it is on."""

    root: str
    name: str

    def open(self) -> InputContainer:
        """A container with at least one video stream. A file on a store is read into memory, whole.

        Raises:
            UserError: not a video.
            StorageError: the store refuses.
        """
        bucket, folder = check_url(self.root)
        if bucket:
            source: io.BytesIO | str = io.BytesIO(open_store(self.root).read(self.name))
        else:
            source = str(Path(folder, self.name).absolute())  # FFmpeg takes "a:b.avi" for a protocol "a"
        try:
            # Names and comments in old AVI files are often not UTF-8, which is fatal by default.
            container: InputContainer = av.open(source, metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise UserError(f"{self}: cannot be opened as video ({error})") from error
        if best_stream(container) is None:
            container.close()
            raise UserError(f"{self}: has no video in it")
        return container

    def __str__(self) -> str:
        return f"{self.root.rstrip('/')}/{self.name}"


Recording = Footage | PictureFolder


def best_stream(container: InputContainer) -> VideoStream | None:
    """The video stream that a player would show; None if there is none, for a cover is no video."""
    films = [
        stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic
    ]
    best = container.streams.best("video")
    return next((stream for stream in films if stream is best), films[0] if films else None)


def find_footage(places: tuple[str, ...], rate: float = RATE) -> tuple[Recording, ...]:
    """The videos at `places`, in this order, each place's sorted by name, none twice.

    A place without any video file may have numbered pictures: each folder of them is a video (see `PictureFolder`).
    Names are below their place; where two are the same, with as many of the folders above as tell them apart.

    Args:
        places: files; folders, of which every file below with one of EXTENSIONS is taken; or patterns with `*`
            (of any depth), `?` and `[...]`. Paths, file:// or s3:// URLs.
        rate: of numbered pictures, frames per second.

    Raises:
        UserError: a place has no video, its pictures are not numbered, or there is no place.
        StorageError: the store refuses.
    """
    if not places:
        raise UserError("input is empty; name at least one video file, folder or pattern")
    found: dict[str, Recording] = {}
    for place in places:
        files = _find(place, rate)
        if not files:
            raise UserError(
                f"input {place!r}: no video file ({', '.join(EXTENSIONS)}) there, nor pictures ({', '.join(PICTURES)})"
            )
        for file in files:
            found.setdefault(str(file) if check_url(place)[0] else os.path.realpath(str(file)), file)
    return _told_apart(tuple(found.values()))


def _told_apart(found: tuple[Recording, ...]) -> tuple[Recording, ...]:
    """The same, with folders in front of the names that several have."""
    counts = Counter(file.name for file in found)
    longer = tuple(_longer(file) if counts[file.name] > 1 else file for file in found)
    return found if longer == found else _told_apart(longer)


def _longer(file: Recording) -> Recording:
    """The same, with one folder more in its name; as it is where there is none."""
    above, _, folder = str(file).removesuffix(file.name).rstrip("/").rpartition("/")
    if folder in ("", ".", "..") or above == "s3:/":
        return file
    name = f"{folder}/{file.name}"
    if isinstance(file, PictureFolder):
        return replace(file, name=name)
    return Footage(above or ("/" if file.root.startswith("/") else "."), name)


def _find(place: str, rate: float) -> Sequence[Recording]:
    place = canonical(place)
    bucket, path = check_url(place)
    parent, _, last = place.rstrip("/").rpartition("/")
    is_file = open_store(parent).exists(last) if bucket and path else Path(path).is_file()
    if is_file:
        return [Footage(parent or ("/" if place.startswith("/") else "."), last)]
    is_folder = not bucket and Path(path).is_dir()  # whatever its name: then it is no pattern
    literal = place if is_folder else re.split(r"[*?\[]", place, maxsplit=1)[0]
    if literal == place:
        root, pattern = place, "*"
    else:
        root = literal.rpartition("/")[0] or ("/" if place.startswith("/") else ".")
        pattern = place[len(root) :].lstrip("/") if literal.rpartition("/")[1] else place
    names = [name for name in open_store(root).list() if fnmatchcase(name, pattern)]
    videos = [Footage(root, name) for name in names if name.lower().endswith(EXTENSIONS)]
    return videos or picture_folders(root, [name for name in names if name.lower().endswith(PICTURES)], rate)
