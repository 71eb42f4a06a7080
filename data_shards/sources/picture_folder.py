"""Folders of numbered pictures, the form in which PROST, ViSOR and other sets of test videos come."""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from data_shards.mistake import UserError
from data_shards.sources.inventory import Inventory
from data_shards.sources.pictures import as_rgb, decode_picture, joined, open_picture, upright_size
from data_shards.storage.place import check_url, open_store
from data_shards.storage.store import StorageError

PICTURES = (".jpeg", ".jpg", ".png")
WHOLE, DECIMAL = r"(\d+)", r"(\d+(?:\.\d+)?)"
RATE = 25.0  # frames per second, which pictures do not say


@dataclass(frozen=True)
class PictureFolder:
    """The pictures of one folder as one video: `files` below `root` in the order of their `numbers`."""

    root: str
    name: str
    files: tuple[str, ...]
    numbers: tuple[int, ...]
    rate: float = RATE

    @property
    def joined(self) -> tuple[bool, ...]:
        """Whether each picture belongs to the take of the one before it."""
        return joined(self.numbers)

    def bad_files(self) -> dict[str, str]:
        """Open every picture, without decoding it; what is wrong with those that cannot be used, by file.

        They are no pictures, cannot be shown with 8 bits, or are of another size than the first.

        Raises:
            StorageError: the bucket refuses.
        """
        bad: dict[str, str] = {}
        first: tuple[str, tuple[int, int]] | None = None
        store, is_bucket = open_store(self.root), bool(check_url(self.root)[0])
        for file in self.files:
            address = store.address(file)
            try:
                with open_picture(store.read(file), address) as image:
                    w, h = upright_size(image)
            except (UserError, StorageError) as error:
                if is_bucket and isinstance(error, StorageError):
                    raise
                bad[file] = str(error)
                continue
            if first is None:
                first = file, (w, h)
            if (w, h) != first[1]:
                bad[file] = (
                    f"{address}: is {w} x {h} pixels, but {first[0]} is {first[1][0]} x {first[1][1]}; pictures"
                    " of a folder must be of one size"
                )
        return bad

    def without(self, files: Collection[str]) -> "PictureFolder | None":
        """The same less some files, a gap where they were; None if nothing is left."""
        left = [place for place, file in enumerate(self.files) if file not in files]
        kept = tuple(self.files[place] for place in left), tuple(self.numbers[place] for place in left)
        return replace(self, files=kept[0], numbers=kept[1]) if left else None

    def read(self, index: int) -> UInt8[np.ndarray, "h w 3"] | None:
        """Picture `index`, upright, in RGB; None if it is damaged.

        Raises:
            StorageError: the store refuses.
        """
        file = self.files[index]
        data = open_store(self.root).read(file)
        try:
            return np.asarray(as_rgb(decode_picture(data, f"{self.root}/{file}")))
        except UserError:
            return None

    def __str__(self) -> str:
        folder = self.files[0].rpartition("/")[0]
        return f"{self.root.rstrip('/')}/{folder}".rstrip("/")


def picture_folders(
    root: str, names: list[str], rate: float = RATE, inventory: Inventory | None = None
) -> list[PictureFolder]:
    """The folders in which the pictures `names` lie, below `root`, sorted by name.

    Raises:
        UserError: there is no `inventory` to take what is bad: the pictures of a folder are not numbered by
            exactly one number in their names, each by another.
    """
    account = Inventory() if inventory is None else inventory
    files: dict[str, list[str]] = {}
    for name in names:
        files.setdefault(name.rpartition("/")[0], []).append(name)
    folders = []
    for folder, inside in sorted(files.items()):
        try:
            ranked = sorted(zip(_numbers(root, inside), inside, strict=True))
        except UserError as error:
            account.refuse(f"{root}/{folder}", str(error))
            continue
        numbers, ordered = zip(*ranked, strict=True)
        name = folder or root.rstrip("/").rpartition("/")[2]
        folders.append(PictureFolder(root, name, ordered, numbers, rate))
    if inventory is None:
        account.check()
    return folders


def _numbers(root: str, files: list[str]) -> list[int]:
    """The number of each of the `files` of one folder.

    A point within it makes a decimal, as in time stamps, where names cannot be read otherwise or only so have even
    steps; the unit then is that of the last digit.
    """
    decimal: list[int] | None = None
    try:
        decimal = _read(root, files, DECIMAL)
        whole = _read(root, files, WHOLE)
    except UserError:
        if decimal is None:
            return _read(root, files, WHOLE)
        return decimal
    return decimal if _even(decimal) and not _even(whole) else whole


def _even(numbers: list[int]) -> bool:
    return all(joined(sorted(numbers))[1:])


def _read(root: str, files: list[str], number: str) -> list[int]:
    """What stands for the pattern `number` in each name: what differs, if there are several."""
    stems = [re.split(number, file.rpartition("/")[2].rpartition(".")[0]) for file in files]
    for stem, file in zip(stems, files, strict=True):
        if len(stem) == 1:
            raise UserError(
                f"{root}/{file}: has no number in its name; number the pictures of a folder in their order"
            )
        if stem[::2] != stems[0][::2]:
            raise UserError(
                f"{root}/{file}: differs from {files[0]} in more than its number; give each video a folder of its own"
            )
    fields = [_units([stem[i] for stem in stems]) for i in range(1, len(stems[0]), 2)]
    varying = [field for field in fields if len(set(field)) > 1] or fields[-1:]
    if len(varying) > 1:
        raise UserError(
            f"{root}/{files[0]}: pictures of its folder differ in {len(varying)} numbers; give each video a folder"
        )
    seen: dict[int, str] = {}
    for value, file in zip(varying[0], files, strict=True):
        if value in seen:
            raise UserError(f"{root}/{file}: has the same number as {seen[value]}")
        seen[value] = file
    return varying[0]


def _units(words: list[str]) -> list[int]:
    """Numbers, in units of the last digit that any of them has."""
    parts = [word.partition(".")[::2] for word in words]
    places = max(len(fraction) for _, fraction in parts)
    return [int(whole + fraction.ljust(places, "0")) for whole, fraction in parts]
