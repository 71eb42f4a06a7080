"""HMDB-51: clips of people from films, in the splits that its authors gave (Kuehne et al., 2011)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from data_shards.mistake import UserError
from data_shards.sources.decoding import Extent
from data_shards.sources.footage import Recording, find_footage
from data_shards.sources.inventory import Inventory, visible_names
from data_shards.sources.splits import split_number
from data_shards.sources.text_list import read_lines
from data_shards.sources.video import VideoFiles
from data_shards.storage.place import open_store

IDS = {"0": None, "1": "train", "2": "test"}  # 0: in neither part of this fold


@dataclass(frozen=True)
class Hmdb51(VideoFiles):
    """HMDB-51: clips of people from films, as `video`, dealt to the splits by the official lists.

    Val is `val_share` of the *films* of the training part, at least one, since clips of one film look alike.
    `test_share` and `gap` have no effect.
    """

    splits: str | None = None
    """Folder of the lists CLASS_test_split{1,2,3}.txt, at any depth below; a path or URL, by default the first
    input."""
    fold: Literal[1, 2, 3] = 1
    """Which of the three official splits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fold not in (1, 2, 3):
            raise UserError(f"fold {self.fold} must be 1, 2 or 3")

    @cached_property
    def _listed(self) -> dict[str, tuple[str | None, str]]:
        """By file name: train, test or None, and the film it is from."""
        folder = self.splits or (self.input[0] if self.input else "")
        store = open_store(folder)
        ending = f"_test_split{self.fold}.txt"
        listed: dict[str, tuple[str | None, str]] = {}
        account = Inventory()
        names, unread = visible_names(store, (), account)
        for path in [name for name in unread if name.endswith((ending, "/"))]:
            account.refuse(path, f"{store.address(path)}: {unread[path]}")
        account.check()
        for path in [name for name in names if name.endswith(ending)]:
            action = path.rpartition("/")[2].removesuffix(ending)
            for number, line in enumerate(read_lines(store, path), start=1):
                if not line.strip():
                    continue
                name, _, which = line.strip().rpartition(" ")
                if not name or which not in IDS:
                    raise UserError(
                        f"{store.address(path)}, line {number}: {line!r} must be a file name and 0, 1 or 2"
                    )
                name = name.strip()
                if listed.get(name, (IDS[which],))[0] != IDS[which]:
                    raise UserError(
                        f"{store.address(path)}, line {number}: {name} has another number elsewhere"
                    )
                listed[name] = IDS[which], name.rpartition(f"_{action}_")[0] or name
        if not listed:
            raise UserError(f"splits {folder}: no list *{ending} there")
        return listed

    @cached_property
    def _found(self) -> tuple[Recording, ...]:
        return find_footage(self.input, inventory=self._inventory)

    def _footage(self) -> tuple[Recording, ...]:
        """The files that some part of the fold has."""
        chosen = tuple(file for file in self._found if self._listed.get(_name(file), (None,))[0])
        if not chosen and not self._inventory.bad:
            raise UserError(
                f"input {' '.join(self.input)}: none of its {len(self._found)} files is in train or test of fold "
                f"{self.fold}"
            )
        return chosen

    def statistics(self) -> dict[str, object]:
        """As of VideoFiles; files that the lists lack, and those of the lists that the input lacks."""
        names = {_name(file) for file in self._found}
        return super().statistics() | {
            "files_not_listed": len(names - self._listed.keys()),
            "listed_but_missing": len(self._listed.keys() - names),
        }

    def _reason(self, split: str) -> str:
        """Why no files belong to `split`."""
        return f"of the files that the lists name, none is for {split}"

    def _parts(self, split: str, seed: int) -> list[tuple[Recording, Extent, range]]:
        """Whole files: the lists' test part, and the training part less the films of val."""
        split_number(split)
        films = sorted({self._film(file) for file, _ in self._files if self._part(file) == "train"})
        deck = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(films)).tolist()
        share = max(1, round(self.val_share * len(films))) if self.val_share and len(films) > 1 else 0
        val = {films[i] for i in deck[:share]}
        parts = []
        for file, extent in self._files:
            part = "val" if self._part(file) == "train" and self._film(file) in val else self._part(file)
            if part == split:
                parts.append((file, extent, range(2**62)))
        return parts

    def _part(self, file: Recording) -> str | None:
        return self._listed[_name(file)][0]

    def _film(self, file: Recording) -> str:
        return self._listed[_name(file)][1]


def _name(file: Recording) -> str:
    return file.name.rpartition("/")[2]
