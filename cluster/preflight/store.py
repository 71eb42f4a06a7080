"""What a store must be able to do before a run relies on it, tried out on a few small objects of its own.

A store that breaks one of these promises loses checkpoints or mixes runs, silently and weeks later.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

from data_shards.storage.store import NotFound, StorageError, Store

_ROUNDS = 3
_WRITERS = 8
_BYTES = 4096


def read_after_write(store: Store, folder: str) -> Iterator[str]:
    """What was put is read at once, also where it replaces something."""
    name = f"{folder}/written"
    for _ in range(_ROUNDS):
        content = os.urandom(_BYTES)
        store.put(name, content)
        if store.read(name) != content or store.size(name) != len(content):
            yield f"{store.url}: an object that was just written is read as something else; checkpoints would be mixed"
            return
    store.delete(name)
    if store.exists(name):
        yield f"{store.url}: an object that was just deleted is still there; old checkpoints would come back"


def one_winner(store: Store, folder: str) -> Iterator[str]:
    """Of several writers that put an object only where none is, one is told that it did, and its content is there."""
    name, start = f"{folder}/raced", Barrier(_WRITERS)

    def write(number: int) -> bool:
        start.wait()
        try:
            store.put(name, f"writer {number}".encode(), if_absent=True)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(_WRITERS) as writers:
        winners = [number for number, won in enumerate(writers.map(write, range(_WRITERS))) if won]
    if len(winners) != 1:
        yield (
            f"{store.url}: {len(winners)} of {_WRITERS} writers at once were told that they made an object that was "
            "absent, and one should; the server ignores If-None-Match, and two builds of a set would mix"
        )
    elif store.read(name) != f"writer {winners[0]}".encode():
        yield f"{store.url}: of several writers at once, one was told that it won and another's object is there"


def nothing_of_what_was_given_up(store: Store, folder: str) -> Iterator[str]:
    """A large upload that is given up leaves no object."""
    name = f"{folder}/abandoned"
    store.abandon(name, os.urandom(_BYTES))
    if store.exists(name) or name in store.list(f"{folder}/"):
        yield f"{store.url}: an upload that was given up has left an object; half a checkpoint would count as whole"


def listing(store: Store, folder: str) -> Iterator[str]:
    """A list has what was just put, and has not what was just deleted."""
    names = {f"{folder}/listed/{number}" for number in range(_ROUNDS)}
    for name in names:
        store.put(name, b"1")
    if missing := names - store.list(f"{folder}/listed/").keys():
        yield (
            f"{store.url}: {len(missing)} of {len(names)} objects that were just written are in no list; a start would "
            "go on from an older checkpoint"
        )
    gone = min(names)
    store.delete(gone)
    if gone in store.list(f"{folder}/listed/"):
        yield f"{store.url}: an object that was just deleted is still listed; a start would look for what is gone"


def tidy(store: Store, folder: str) -> None:
    """Remove all that these have put."""
    with suppress(StorageError):
        for name in store.list(f"{folder}/"):
            with suppress(NotFound):
                store.delete(name)
