"""Damage: an object of a store that is not what it was any more: a byte flipped, an end cut off, a stretch of zeros."""

from collections.abc import Callable

from data_shards.storage.store import Store

DAMAGES: dict[str, Callable[[bytes, float], bytes]] = {
    "flip": lambda data, where: _replaced(data, _at(data, where), bytes([data[_at(data, where)] ^ 0x10])),
    "cut": lambda data, where: data[: _at(data, where)],
    "zeros": lambda data, where: _replaced(data, len(data) // 8, bytes(len(data) * 3 // 4)),
}
"""What becomes of a content, by name; `where`, from 0 to 1, is the place of a flip or a cut."""


def damage(store: Store, name: str, how: str, where: float) -> Callable[[], None]:
    """Damage an object; returns what puts it back."""
    whole = store.read(name)
    store.put(name, DAMAGES[how](whole, where))
    return lambda: store.put(name, whole)


def _at(data: bytes, where: float) -> int:
    return min(int(where * len(data)), len(data) - 1)


def _replaced(data: bytes, start: int, piece: bytes) -> bytes:
    return data[:start] + piece + data[start + len(piece) :]
