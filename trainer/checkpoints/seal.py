"""Seals: with a key, what a store says of a checkpoint is believed only where its writer had the key.

A seal lies beside the object that it is of, as NAME.hmac: HMAC-SHA256 over the object's name below the run and its
content. The manifest of a checkpoint is sealed, and so is what each rank says of its files, from which rank 0 makes the
manifest; the hashes in them seal the files. The key is in the environment of every process, and nowhere else.
"""

import hashlib
import hmac
import os

from data_shards.mistake import UserError
from data_shards.storage.store import NotFound, StorageError, Store

VARIABLE = "COMMONFATE_CHECKPOINT_KEY"

_SHORTEST = 16  # characters
_LONGEST = 16 << 20  # bytes of what is sealed: a manifest of ten thousand ranks has a third
_DIGITS = 64


class Damaged(StorageError):
    """An object of a checkpoint is not what was saved. An older checkpoint may do.

    Attributes:
        found: what is wrong, without the remedy that the whole sentence ends with.
    """

    def __init__(self, url: str, reason: str, remedy: str) -> None:
        super().__init__(url, f"{reason}; {remedy}")
        self.args = url, reason, remedy
        self.found = f"{url}: {reason}"


def checkpoint_key() -> bytes:
    """The key in the environment; empty = there is none.

    Raises:
        UserError: it is too short to be one.
    """
    given = os.environ.get(VARIABLE)
    if given is None:
        return b""
    key = given.strip().encode()
    if len(key) < _SHORTEST:
        raise UserError(
            f"{VARIABLE} has {len(key)} characters, needs at least {_SHORTEST}, such as `openssl rand -hex 32` "
            f"gives; unset it to do without a key"
        )
    return key


def put_sealed(store: Store, name: str, data: bytes) -> None:
    """Store `data` under `name`, its seal first where there is a key."""
    if key := checkpoint_key():
        store.put(f"{name}.hmac", _seal(key, name, data))
    store.put(name, data)


def read_sealed(store: Store, name: str) -> bytes:
    """The content of an object of at most 16 MiB, whose seal is right where there is a key.

    Raises:
        NotFound: there is no such object.
        Damaged: its seal is missing or wrong, or it is longer.
    """
    if store.size(name) > _LONGEST:
        reason = f"is longer than {_LONGEST} bytes, and no manifest of a checkpoint"
        raise Damaged(store.address(name), reason, "start in another output")
    data = store.read(name)
    if key := checkpoint_key():
        _require_seal(store, name, _seal(key, name, data))
    return data


def _require_seal(store: Store, name: str, wanted: bytes) -> None:
    try:
        found = store.read(f"{name}.hmac", 0, _DIGITS)
    except NotFound:
        why = f"has no seal: it was saved without {VARIABLE}, or is forged"
    except StorageError:  # shorter
        why = "has a seal that is none"
    else:
        if hmac.compare_digest(found, wanted):
            return
        why = f"has a wrong seal: it was saved with another {VARIABLE}, or is forged"
    remedy = f"unset {VARIABLE} to trust it, or start in another output"
    raise Damaged(store.address(name), why, remedy)


def _seal(key: bytes, name: str, data: bytes) -> bytes:
    return hmac.new(key, name.encode() + b"\0" + data, hashlib.sha256).hexdigest().encode()
