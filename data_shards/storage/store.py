"""Where bytes live: a folder or a bucket behind one small interface, used for shards and for checkpoints.

Writes are complete or absent; reads can be pinned to a version, so that an object replaced in the middle of a run
is an error instead of a mixture.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path


class StorageError(Exception):
    """What storage refuses or has lost, in one sentence that names the URL. Retrying does not help."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class NotFound(StorageError):
    """There is no such object."""


class Changed(StorageError):
    """The object is not the version that the reader pinned."""


@dataclass(frozen=True)
class Stat:
    """An object's `size` in bytes and its `version`: ETag, or time of last change."""

    size: int
    version: str


class Store(ABC):
    """Objects below one URL, by names such as "train-000000.tar" or "checkpoints/step-00000040/x".

    Every method raises StorageError, whose text names the URL.

    Attributes:
        url: without a trailing slash.
        retries: requests repeated since the store was opened; stays 0 on files.
    """

    url: str
    retries: int = 0

    def address(self, name: str) -> str:
        """The URL of an object."""
        return f"{self.url}/{name}" if name else self.url

    @abstractmethod
    def stat(self, name: str) -> Stat:
        """Size and version; NotFound if absent."""

    @abstractmethod
    def read(
        self,
        name: str,
        start: int | None = None,
        end: int | None = None,
        version: str | None = None,
        most: int | None = None,
    ) -> bytes:
        """The bytes [start, end) of an object, all of them or an error.

        Args:
            name: of the object.
            start: first byte, 0 by default.
            end: one past the last byte, the object's end by default.
            version: of a `Stat`; Changed is raised if the object is another one by now.
            most: bytes, an error before any is read where there are more.
        """

    @abstractmethod
    def put(self, name: str, source: bytes | Path, if_absent: bool = False) -> None:
        """Store bytes or a local file under `name`: complete or absent, never half.

        Raises:
            FileExistsError: `if_absent` and there is such an object. Of several writers exactly one wins.
        """

    @abstractmethod
    def abandon(self, name: str, data: bytes) -> None:
        """Begin to store bytes as those of a large file are, and give up: as if it had never been begun."""

    @abstractmethod
    def list(self, prefix: str = "", unread: dict[str, str] | None = None) -> dict[str, int]:
        """Names that start with `prefix`, sorted, with their sizes in bytes.

        Args:
            prefix: of the names.
            unread: gets what is there, but no file that can be read, with the reason; folders end with "/". A
                bucket has none.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove an object; an absent one is fine."""

    def require_at_most(self, name: str, size: int, most: int | None) -> None:
        """StorageError where an object that is to be read has `size` bytes and more than `most`."""
        if most is not None and size > most:
            raise StorageError(self.address(name), f"has {size} bytes, at most {most} are read")

    def close(self) -> None:
        """Give up waiting requests; later calls fail."""
        return None

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        try:
            self.stat(name)
        except NotFound:
            return False
        return True

    def size(self, name: str) -> int:
        """Bytes of the object."""
        return self.stat(name).size
