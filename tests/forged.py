"""Files that would run code if they were unpickled, in checkpoints whose hashes are right."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch

from trainer.checkpoints.checkpoint import MANIFEST


class Exploit:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def forged(mark: Path) -> bytes:
    """A file of torch.save that makes the folder `mark`, if it is allowed to."""
    path = mark.with_suffix(".pt")
    torch.save({"module": {"weight": torch.zeros(1)}, "x": Exploit(mark)}, path)
    data = path.read_bytes()
    path.unlink()
    return data


def replace_file(folder: Path, ending: str, data: bytes) -> Path:
    """Put `data` in place of a file of the checkpoint in `folder`, and let the manifest know; returns its path."""
    manifest = json.loads((folder / MANIFEST).read_text())
    name = next(name for name in manifest["files"] if name.endswith(ending))
    (folder / name).write_bytes(data)
    manifest["files"][name] = [len(data), hashlib.sha256(data).hexdigest()]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder / name
