"""Video files named by paths, folders, patterns or URLs, and opened for decoding."""

import io
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import av
from av.container import InputContainer

from data_shards.storage import check_url, open_store

EXTENSIONS = (".avi", ".mkv", ".mp4", ".webm")


@dataclass(frozen=True)
class Footage:
    """The file `name` below the folder or bucket `root`. The name alone says nothing about the machine it is on."""

    root: str
    name: str

    def open(self) -> InputContainer:
        """A container with at least one video stream. A file on a store is read into memory, whole.

        Raises:
            ValueError: not a video.
            StorageError: the store refuses.
        """
        bucket, folder = check_url(self.root)
        source = io.BytesIO(open_store(self.root).read(self.name)) if bucket else str(Path(folder, self.name))
        try:
            # Names and comments in old AVI files are often not UTF-8, which is fatal by default.
            container: InputContainer = av.open(source, metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise ValueError(f"{self}: cannot be opened as video ({error})") from error
        if not container.streams.video:
            container.close()
            raise ValueError(f"{self}: has no video in it")
        return container

    def __str__(self) -> str:
        return f"{self.root.rstrip('/')}/{self.name}"


def find_footage(places: tuple[str, ...]) -> tuple[Footage, ...]:
    """The video files at `places`, in this order, each place's sorted by name, none twice.

    Args:
        places: files; folders, of which every file below with one of EXTENSIONS is taken; or patterns with `*`
            (of any depth), `?` and `[...]`. Paths, file:// or s3:// URLs.

    Raises:
        ValueError: a place has no video file, or there is no place.
        StorageError: the store refuses.
    """
    if not places:
        raise ValueError("input is empty; name at least one video file, folder or pattern")
    found: dict[str, Footage] = {}
    for place in places:
        files = _find(place)
        if not files:
            raise ValueError(f"input {place!r}: no video file ({', '.join(EXTENSIONS)}) there")
        found |= {str(file): file for file in files}
    return tuple(found.values())


def _find(place: str) -> list[Footage]:
    parent, _, last = place.rstrip("/").rpartition("/")
    bucket, path = check_url(place)
    is_file = open_store(parent).exists(last) if bucket and path else Path(path).is_file()
    if is_file:
        return [Footage(parent or ("/" if place.startswith("/") else "."), last)]
    literal = re.split(r"[*?\[]", place, maxsplit=1)[0]
    if literal == place:
        root, pattern = place, "*"
    else:
        root = literal.rpartition("/")[0] or ("/" if place.startswith("/") else ".")
        pattern = place[len(root) :].lstrip("/") if literal.rpartition("/")[1] else place
    names = open_store(root).list()
    return [Footage(root, n) for n in names if n.lower().endswith(EXTENSIONS) and fnmatchcase(n, pattern)]
