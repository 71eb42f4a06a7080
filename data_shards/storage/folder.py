"""A folder of a file system as a store."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from data_shards.storage.store import Changed, NotFound, Stat, StorageError, Store


class FolderStore(Store):
    """A folder of a file system."""

    def __init__(self, url: str, root: Path) -> None:
        self.url, self.root = url, root

    def _path(self, name: str) -> Path:
        # Of the name alone: where links in the folder lead is the business of who made them.
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise StorageError(self.address(name), "leaves its folder")
        return self.root / name

    def _failure(self, name: str, error: OSError) -> StorageError:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return NotFound(self.address(name), "no such file")
        return StorageError(self.address(name), error.strerror or str(error))

    def stat(self, name: str) -> Stat:
        """Of a file; its version is inode, time of change and size."""
        try:
            found = self._path(name).stat()
        except OSError as error:
            raise self._failure(name, error) from error
        if not self._path(name).is_file():
            raise NotFound(self.address(name), "not a file")
        return Stat(found.st_size, f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}")

    def read(
        self,
        name: str,
        start: int | None = None,
        end: int | None = None,
        version: str | None = None,
        most: int | None = None,
    ) -> bytes:
        """See Store."""
        if version is not None and self.stat(name).version != version:
            raise Changed(self.address(name), "was replaced while it was being read")
        try:
            with self._path(name).open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                first, last = start or 0, size if end is None else end
                if last > size:
                    raise StorageError(
                        self.address(name), f"ends at byte {size}, before byte {last}: truncated"
                    )
                self.require_at_most(name, last - first, most)
                file.seek(first)
                parts, missing = [], last - first
                while missing > 0:
                    part = file.read(missing)
                    if not part:
                        raise StorageError(self.address(name), f"ended {missing} bytes early: truncated")
                    parts.append(part)
                    missing -= len(part)
        except OSError as error:
            raise self._failure(name, error) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def put(self, name: str, source: bytes | Path, if_absent: bool = False) -> None:
        """Written beside the target, synced, then renamed or linked."""
        target = self._path(name)
        partial = _beside(target)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write(partial, source)
                if if_absent:
                    os.link(partial, target)  # unlike rename, fails where the target exists
                else:
                    partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
            _sync_folder(target.parent)
        except OSError as error:
            if isinstance(error, FileExistsError) and if_absent and target.is_file():
                raise FileExistsError(f"{self.address(name)} exists already") from error
            raise self._failure(name, error) from error

    def abandon(self, name: str, data: bytes) -> None:
        """Written beside the target, and removed."""
        partial = _beside(self._path(name))
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            _write(partial, data)
            partial.unlink()
        except OSError as error:
            raise self._failure(name, error) from error

    def list(self, prefix: str = "", unread: dict[str, str] | None = None) -> dict[str, int]:
        """Files of all folders below, linked ones too; none where there is no folder."""
        # Only the deepest folder that the prefix names is walked.
        top = self._path(prefix[: prefix.rfind("/") + 1])
        found: dict[str, int] = {}
        failed: dict[Path, str] = {}
        for path, size in _files_below(top, failed):
            name = self._name(path)
            if name.startswith(prefix) and not (path.name.startswith(".") and path.suffix == ".partial"):
                found[name] = size
        if unread is not None:
            # A folder is told from a file by the slash: what may be below it is not known.
            ends = {path: "/" if os.path.isdir(path) else "" for path in failed}
            unread |= {self._name(path) + ends[path]: why for path, why in sorted(failed.items())}
        return dict(sorted(found.items()))

    def _name(self, path: Path) -> str:
        return "" if path == self.root else path.relative_to(self.root).as_posix()

    def delete(self, name: str) -> None:
        """Unlink it, and the folders that it leaves empty: as in a bucket, there are none."""
        path = self._path(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise self._failure(name, error) from error
        for folder in path.parents:
            if folder == self.root:
                break
            try:
                folder.rmdir()
            except OSError:  # not empty, or gone already
                break


def _beside(target: Path) -> Path:
    """Where a file is written before it is complete: a dot in front hides it, a random part keeps writers apart."""
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")


def _files_below(
    folder: Path, failed: dict[Path, str], above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[tuple[Path, int]]:
    """Files and their sizes, through links; `failed` gets what cannot be read, and why.

    `above` has the folders (device, inode) on the way, so that a link to one of them leads nowhere.
    """
    try:
        here = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        if above or not isinstance(error, FileNotFoundError | NotADirectoryError):
            failed[folder] = error.strerror or str(error)
        return
    way = above | {(here.st_dev, here.st_ino)}
    for entry in entries:
        path = Path(entry.path)
        try:
            found = entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():  # else it went away meanwhile
                failed[path] = "is a link whose target is not there"
            continue
        except OSError as error:
            failed[path] = error.strerror or str(error)
            continue
        if S_ISREG(found.st_mode):
            yield path, found.st_size
        elif not S_ISDIR(found.st_mode):
            failed[path] = "is neither a file nor a folder"
        elif (found.st_dev, found.st_ino) not in way:
            yield from _files_below(path, failed, way)


def _write(path: Path, source: bytes | Path) -> None:
    with path.open("xb") as out:
        if isinstance(source, bytes):
            out.write(source)
        else:
            with source.open("rb") as file:
                while part := file.read(1 << 20):
                    out.write(part)
        out.flush()
        os.fsync(out.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
