"""Shipment: the files of a folder that a job takes along, chosen by rules, listed and bounded.

They are copied to a folder of their own, and Ray ships that whole: what is listed here is what leaves the machine.
"""

import fnmatch
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_shards.mistake import UserError

MOST = 100 << 20  # bytes: Ray keeps a shipment in the memory of its head

# Patterns of names of files and folders, anywhere, or with a slash in front at the top alone.
EXCLUDED = (
    *(".git", ".hg", ".svn", ".gitignore", ".rayignore"),  # the last two: Ray would leave out more by them
    *(".venv", "venv", "node_modules", "/data", "/runs", "/demo", "/scratch", "/dist", "/build"),
    *("__pycache__", "*.py[cod]", "*.egg-info", ".*_cache", ".cache", ".hypothesis", ".DS_Store"),
    *(".env", ".env.*", ".netrc", ".aws", ".ssh", ".ray", "credentials*", "*.pem", "*.key", "id_rsa*", "id_ed25519*"),
)  # fmt: skip


@dataclass(frozen=True)
class Shipment:
    """Files below `folder` by name, with their bytes; `left_out` are names of files or folders with the reason."""

    folder: Path
    files: dict[str, int]
    left_out: dict[str, str]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(self.files.values())

    def copy_to(self, target: Path) -> None:
        """Copy the files, with their modes and times."""
        for name in self.files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.folder / name, target / name)


def pack(folder: Path, exclude: tuple[str, ...] = ()) -> Shipment:
    """What of `folder` is shipped: what git knows or would take, or else everything; neither without EXCLUDED.

    Args:
        folder: a checkout, or any other.
        exclude: more patterns, as those of EXCLUDED.

    Raises:
        UserError: there is no such folder, or it holds nothing, or too much.
    """
    if not folder.is_dir():
        raise UserError(f"--working-dir: {folder} is no folder")
    files: dict[str, int] = {}
    left_out: dict[str, str] = {}
    for name in _names(folder):
        path = folder / name
        if pattern := _pattern_of(name, (*EXCLUDED, *exclude)):
            left_out[_stem(name, pattern)] = pattern
        elif path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            left_out[name] = "a link that leads out"
        elif path.is_file():
            files[name] = path.stat().st_size
    found = Shipment(folder, files, left_out)
    if not files:
        raise UserError(f"--working-dir: {folder} holds no file to ship")
    if found.bytes > MOST:
        largest = sorted(files, key=lambda name: -files[name])[:3]
        told = ", ".join(f"{name} ({megabytes(files[name])})" for name in largest)
        raise UserError(
            f"--working-dir: {megabytes(found.bytes)} are too much to ship, at most {megabytes(MOST)}; the largest "
            f"files are {told}; leave them out by --exclude PATTERN"
        )
    return found


def listing(shipment: Shipment) -> str:
    """A line for each file, then one for each name that was left out."""
    rows = [f"{size:>10}  {name}" for name, size in sorted(shipment.files.items())]
    rows += [f"  left out  {name}  ({why})" for name, why in sorted(shipment.left_out.items())]
    return "\n".join(rows)


def megabytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.1f} MB"


def _names(folder: Path) -> Iterator[str]:
    """Files below the folder: what git does not ignore, or all where it is no checkout."""
    command = ["git", "-C", str(folder), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        done = None
    if done is not None and done.returncode == 0:
        yield from sorted(filter(None, set(done.stdout.split("\0"))))
    else:
        yield from _walk(folder, "")


def _walk(folder: Path, above: str) -> Iterator[str]:
    for path in sorted((folder / above).iterdir()):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink() and not _pattern_of(name, EXCLUDED):
            yield from _walk(folder, name)
        else:
            yield name


def _pattern_of(name: str, patterns: tuple[str, ...]) -> str:
    """The pattern by which a file, or a folder above it, is left out; "" = by none."""
    parts = name.split("/")
    for pattern in patterns:
        candidates = parts[:1] if pattern.startswith("/") else parts
        if any(fnmatch.fnmatchcase(part, pattern.removeprefix("/")) for part in candidates):
            return pattern
    return ""


def _stem(name: str, pattern: str) -> str:
    """The topmost part of the name that the pattern fits."""
    parts = name.split("/")
    fits = [fnmatch.fnmatchcase(part, pattern.removeprefix("/")) for part in parts]
    return "/".join(parts[: fits.index(True) + 1])
