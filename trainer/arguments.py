"""Mistakes in a command's arguments that are told before its work begins, not after."""

import os
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_shards.mistake import UserError


def add_count(parser: ArgumentParser, option: str, default: int | None, meaning: str) -> None:
    """Adds an option for a number of things, by default the given one or all."""
    told = "all" if default is None else "%(default)s"
    parser.add_argument(option, type=int, default=default, metavar="N", help=f"{meaning}; {told} by default")


def require_positive(given: Namespace, *options: str) -> None:
    """Raises UserError where one of the options, numbers of things, is given and below 1."""
    for option in options:
        if (value := getattr(given, option)) is not None and value < 1:
            raise UserError(f"--{option}: got {value}, must be at least 1; leave it out for the default")


def require_folder(option: str, folder: Path) -> None:
    """Raises UserError where `folder` is not there and cannot be made."""
    folder = folder.absolute()
    there = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "may not be written" if there.is_dir() else "is no folder"
        raise UserError(f"--{option}: {there} {reason}; name a place where files can be written")


def require_file(option: str, file: Path) -> None:
    """Raises UserError where `file` cannot be written; its folder need not be there yet."""
    if not file.exists():
        require_folder(option, file.parent)
    elif file.is_dir() or not os.access(file, os.W_OK):
        reason = "is a folder" if file.is_dir() else "may not be written"
        raise UserError(f"--{option}: {file} {reason}; name a file that can be written")


def write_file(file: Path, data: bytes) -> None:
    """Write a file, in a folder that is made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which stands at `folder` when all is done, and not before.

    Raises:
        UserError: there is something already.
    """
    if folder.exists():
        raise UserError(f"{folder} is there already; remove it or name another --out")
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = folder.with_name(f".{folder.name}.{os.getpid()}")
    making.mkdir()
    try:
        yield making
        making.rename(folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
