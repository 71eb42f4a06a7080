"""Video files, and folders of numbered pictures, named by paths, folders, patterns or URLs."""

import io
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from av.container import InputContainer

from data_shards.mistake import UserError
from data_shards.sources.container import EXTENSIONS, open_video
from data_shards.sources.inventory import (
    HIDDEN,
    OTHER,
    PICTURES_TOO,
    TARS_TOO,
    Inventory,
    may_be,
    visible_names,
)
from data_shards.sources.picture_folder import PICTURES, RATE, PictureFolder, picture_folders
from data_shards.sources.tar_video import TAR, TarVideo, tar_videos
from data_shards.storage.place import canonical, check_url, open_store

BRACES = re.compile(r"\{[^{}]*(\.\.|,)[^{}]*\}")
ABSENT = "does not exist; give a video file, a folder, or a pattern with * or {1..3}"
NOTHING = f"no video file ({', '.join(EXTENSIONS)}) there, nor pictures ({', '.join(PICTURES)})"


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
        return open_video(source, str(self))

    def __str__(self) -> str:
        return f"{self.root.rstrip('/')}/{self.name}"


Video = Footage | TarVideo
Recording = Video | PictureFolder


def find_footage(
    places: tuple[str, ...], rate: float = RATE, inventory: Inventory | None = None
) -> tuple[Recording, ...]:
    """The videos at `places`, in this order, each place's sorted by name, none twice.

    A place without any video file may have numbered pictures: each folder of them is a video (see `PictureFolder`).
    Names are below their place; where two are the same, with as many of the folders above as tell them apart.

    Args:
        places: files; folders, of which every file below with one of EXTENSIONS is taken, but what is hidden; or
            patterns with `*` (of any depth), `?` and `[...]`; braces stand for several places. Of a tar, and of
            folders that have tars and no videos, the videos in them. Paths, file:// or s3:// URLs.
        rate: of numbered pictures, frames per second.
        inventory: gets what is left out, and what is bad: places without a video, pictures that are not numbered,
            links to nothing, folders that cannot be read. Without one, a bad input is an error.

    Raises:
        UserError: a place is none, or there is none; something is bad, and there is no inventory.
        StorageError: the store refuses.
    """
    if not places:
        raise UserError("input is empty; name at least one video file, folder or pattern")
    account = Inventory() if inventory is None else inventory
    found: dict[str, Recording] = {}
    for place in chain.from_iterable(map(_expanded, places)):
        bad, hidden = len(account.bad), account.count(HIDDEN)
        files = _find(place, rate, account)
        if not files and len(account.bad) == bad:
            left = account.count(HIDDEN) - hidden
            more = f"; hidden files are not taken: {left}" if left else ""
            account.refuse(place, f"input {place!r}: {NOTHING if _may_be_there(place) else ABSENT}{more}")
        for file in files:
            found.setdefault(_identity(str(file), bool(check_url(place)[0])), file)
    if inventory is None:
        account.check()
    return _told_apart(tuple(found.values()))


def _identity(file: str, is_remote: bool) -> str:
    """What two names of one file have in common, be they links of either kind: in two splits, it would leak."""
    path = file if is_remote else os.path.realpath(file)
    if is_remote or not os.path.isfile(path):
        return path
    found = os.stat(path)
    return f"{found.st_dev} {found.st_ino}"


def _may_be_there(place: str) -> bool:
    """Whether a place that gave nothing exists, as far as is known: patterns and buckets may be empty."""
    return bool(check_url(place)[0]) or any(c in place for c in "*?[") or os.path.lexists(place)


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
    if isinstance(file, TarVideo):
        return replace(file, name=name, root=above or ("/" if file.root.startswith("/") else "."))
    return Footage(above or ("/" if file.root.startswith("/") else "."), name)


def _expanded(place: str) -> list[str]:
    """The places that braces stand for: clips-{000000..000099}.tar; a file of such a name is meant itself."""
    bucket, path = check_url(place)
    if "$" in place or not BRACES.search(place) or (not bucket and os.path.exists(path)):
        return [place]
    from webdataset.shardlists import expand_urls  # takes seconds to import, with torch

    places: list[str] = expand_urls(place)
    return places


def _find(place: str, rate: float, account: Inventory) -> Sequence[Recording]:
    place = canonical(place)
    bucket, path = check_url(place)
    parent, _, last = place.rstrip("/").rpartition("/")
    is_file = open_store(parent).exists(last) if bucket and path else os.path.isfile(path)
    if is_file and last.lower().endswith(TAR):
        bad = len(account.bad)
        members = tar_videos(parent or ("/" if place.startswith("/") else "."), last, account)
        if not members and len(account.bad) == bad:
            account.refuse(place, f"{place}: has no video in it")
        return members
    if is_file:
        return [Footage(parent or ("/" if place.startswith("/") else "."), last)]
    if not bucket and os.path.islink(path) and not os.path.exists(path):
        account.refuse(place, f"{place}: is a link whose target is not there")
        return []
    is_folder = not bucket and os.path.isdir(path)  # whatever its name: then it is no pattern
    literal = place if is_folder else re.split(r"[*?\[]", place, maxsplit=1)[0]
    if literal == place:
        root, pattern = place, "*"
    else:
        root = literal.rpartition("/")[0] or ("/" if place.startswith("/") else ".")
        pattern = place[len(root) :].lstrip("/") if literal.rpartition("/")[1] else place
    return _below(root, pattern, rate, account)


def _below(root: str, pattern: str, rate: float, account: Inventory) -> Sequence[Recording]:
    """The videos, else the folders of pictures, below `root` whose names are of the `pattern`."""
    store = open_store(root)
    hidden = any(part.startswith(".") for part in pattern.split("/"))  # as in a shell
    all_names, unread = visible_names(store, (*EXTENSIONS, TAR, *PICTURES), account, hidden)
    names = [name for name in all_names if fnmatchcase(name, pattern)]
    videos: list[Recording] = [Footage(root, name) for name in names if name.lower().endswith(EXTENSIONS)]
    used: tuple[str, ...] = EXTENSIONS
    if not videos:
        tars = [name for name in names if name.lower().endswith(TAR)]
        videos = [video for name in tars for video in tar_videos(root, name, account)]
        used += (TAR,) if videos else (TAR, *PICTURES)
    start = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    for name, why in unread.items():
        below = name.endswith("/") and (name.startswith(start) or start.startswith(name) or name == "/")
        if not (below or fnmatchcase(name, pattern)):
            continue
        address = store.address(name.rstrip("/"))
        if may_be(name, used):
            account.refuse(
                address, f"{address}: {why if why.startswith('is ') else f'cannot be read ({why})'}"
            )
        else:
            account.leave_out(OTHER, address)
    reasons = dict.fromkeys(PICTURES, PICTURES_TOO) | {TAR: TARS_TOO}
    for name in names:
        if not name.lower().endswith(used):
            account.leave_out(reasons.get(Path(name).suffix.lower(), OTHER), store.address(name))
    if videos:
        return videos
    return picture_folders(root, [name for name in names if name.lower().endswith(PICTURES)], rate, account)
