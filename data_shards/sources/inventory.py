"""What lies at the inputs and is not used, with the reason: one account for all sources that walk folders."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from data_shards.mistake import UserError
from data_shards.storage.store import Store

NAMED = 20  # names that are kept of each reason
SHOWN = 3  # of them, those that are shown

DESCRIBED = 100  # videos of tars of which a manifest keeps what the tars say of them

HIDDEN, OTHER, PICTURES_TOO = "hidden files", "other files", "pictures beside videos"
TARS_TOO = "tars beside videos"
BAD, UNSAFE, DUPLICATES = "bad inputs", "unsafe names in tars", "keys that come again in a tar"
DOTTED = "keys with dots, taken whole"  # not left out, but webdataset reads them otherwise
# What systems put beside the user's files: bins, snapshots, thumbnails, the other halves of Macs' files.
OF_SYSTEMS = frozenset(
    {
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "__macosx",
        "lost+found",
        "recycler",
        "system volume information",
        "thumbs.db",
        "~snapshot",
    }
)
ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")


class Inventory:
    """What one search for inputs left out, by reason; and what is bad among them, which ends a build."""

    def __init__(self) -> None:
        self.bad: dict[str, str] = {}  # sentences, by what they are about
        self.described: list[dict[str, str]] = []
        self._names: dict[str, list[str]] = {}
        self._seen: dict[str, set[str]] = {}

    def leave_out(self, reason: str, address: str) -> None:
        """Count an input that is not used; one that is met twice counts once."""
        seen = self._seen.setdefault(reason, set())
        if address not in seen:
            seen.add(address)
            names = self._names.setdefault(reason, [])
            if len(names) < NAMED:
                names.append(address)

    def count(self, reason: str) -> int:
        """Inputs that were left out for it."""
        return len(self._seen.get(reason, ()))

    def refuse(self, address: str, sentence: str) -> None:
        """Keep what is wrong with an input that the user means; the sentence names it."""
        self.bad.setdefault(address, sentence)

    @property
    def wants_more(self) -> bool:
        """Whether there is room for another description."""
        return len(self.described) < DESCRIBED

    def describe(self, said: dict[str, str]) -> None:
        """Keep what is said of a video: its file, key, caption (txt) and json."""
        if self.wants_more:
            self.described.append(said)

    def check(self, skip: bool = False, remedy: str = "") -> None:
        """Count the bad ones as left out, or refuse all of them at once.

        Raises:
            UserError: there are bad ones, and `skip` is false; names each, and the `remedy`.
        """
        if not self.bad:
            return
        if not skip:
            sentences = list(self.bad.values())
            if len(sentences) == 1:
                raise UserError((f"one input cannot be used{remedy}: " if remedy else "") + sentences[0])
            raise UserError("\n  ".join([f"{len(sentences)} inputs cannot be used{remedy}:", *sentences]))
        for sentence in self.bad.values():
            self.leave_out(BAD, sentence)

    def summary(self) -> dict[str, dict[str, object]]:
        """For the manifest, by reason: how many, and the names of the first."""
        return {
            reason: {"count": self.count(reason), "names": names} for reason, names in self._names.items()
        }


def told(summary: Mapping[str, Mapping[str, object]]) -> Iterable[str]:
    """A line for each reason of a `summary`."""
    for reason, entry in summary.items():
        names, count = entry["names"], entry["count"]
        assert isinstance(names, list)
        assert isinstance(count, int)
        more = f" and {count - SHOWN} more" if count > SHOWN else ""
        yield f"{'' if reason == DOTTED else 'left out, '}{reason}: {count} ({', '.join(names[:SHOWN])}{more})"


def visible(name: str) -> bool:
    """Whether no part of the name is hidden, or a system's."""
    return not any(part.startswith(".") or part.lower() in OF_SYSTEMS for part in name.split("/"))


def visible_names(
    store: Store, endings: tuple[str, ...], inventory: Inventory, hidden: bool = False
) -> tuple[list[str], dict[str, str]]:
    """The names of files below the store that a user means, and what of them cannot be read, with the reason.

    Args:
        store: where.
        endings: of files that a source could use, in lower case; hidden ones are counted.
        inventory: gets the hidden ones.
        hidden: they are meant too.
    """
    unread: dict[str, str] = {}
    names = []
    for name in store.list(unread=unread):
        if hidden or visible(name):
            names.append(name)
        elif name.lower().endswith(endings):
            inventory.leave_out(HIDDEN, store.address(name))
    return names, {name: why for name, why in unread.items() if hidden or visible(name.rstrip("/"))}


def may_be(name: str, endings: tuple[str, ...]) -> bool:
    """Whether what cannot be read may be one of `endings` or a folder of such: its name does not say otherwise."""
    last = PurePosixPath(name).name.lower()
    return name.endswith("/") or last.endswith(endings) or not ENDING.search(last)
