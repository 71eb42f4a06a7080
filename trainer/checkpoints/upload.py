"""Upload: the way of one checkpoint from local disk to storage, beside the steps that follow."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from data_shards.storage.store import StorageError, Store
from trainer.checkpoints.checkpoint import FOLDER, MANIFEST, Checkpoint, manifest_text, step_of, steps_on
from trainer.checkpoints.owner import TakenOver, successor
from trainer.checkpoints.seal import put_sealed, read_sealed
from trainer.config import CheckpointConfig

POLL_S = 0.05


class Upload:
    """A thread that uploads this rank's part, then deletes it here; rank 0's then waits for all parts and completes.

    Args:
        store: of the run.
        config: the deadline, and how many checkpoints to keep.
        manifest: all but its files.
        rank: this rank.
        local: folder of this rank's part.
        started: when the save began, by time.perf_counter().
        before: called on rank 0 before the checkpoint is made complete.

    Attributes:
        error: what went wrong.
        seconds, size: on rank 0, of a complete checkpoint: since the save began, bytes of all files.
    """

    def __init__(
        self,
        store: Store,
        config: CheckpointConfig,
        manifest: Checkpoint,
        rank: int,
        local: Path,
        started: float,
        before: Callable[[], None],
    ) -> None:
        self._store, self._config, self.manifest = store, config, manifest
        self._rank, self._local, self._started, self._before = rank, local, started, before
        self._abandoned = threading.Event()
        self.error: BaseException | None = None
        self.seconds, self.size = 0.0, 0
        self._thread = threading.Thread(target=self._work, name="checkpoint")
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it is not over yet, well or not."""
        return self._thread.is_alive()

    def join(self, timeout: float) -> None:
        """Until it is over, `timeout` seconds at most."""
        self._thread.join(timeout)

    def abandon(self) -> None:
        """Wait for no other rank any more; what is there already is still completed."""
        self._abandoned.set()

    def _work(self) -> None:
        try:
            self._put_part()
            if self._rank == 0 and (files := self._all_parts()) is not None:
                self._complete(files)
        except BaseException as error:
            self.error = error
        finally:
            shutil.rmtree(self._local, ignore_errors=True)

    def _put_part(self) -> None:
        rank = _part(self.manifest, self._rank)
        files: dict[str, tuple[int, str]] = {}
        for path in sorted(p for p in self._local.rglob("*") if p.is_file()):
            name = f"{rank}/{path.relative_to(self._local)}"
            self._store.put(f"{self.manifest.folder}/{name}", path)
            files[name] = (path.stat().st_size, _sha256(path))
        put_sealed(self._store, f"{self.manifest.folder}/{rank}.json", json.dumps(files).encode())

    def _all_parts(self) -> dict[str, tuple[int, str]] | None:
        """Files of all ranks; None if abandoned before they were there."""
        files: dict[str, tuple[int, str]] = {}
        deadline = time.monotonic() + self._config.deadline_s
        for rank in range(self.manifest.world):
            name = f"{self.manifest.folder}/{_part(self.manifest, rank)}.json"
            while not self._store.exists(name):
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"{self._store.address(name)}: rank {rank} did not upload its part in time"
                    )
                if self._abandoned.wait(POLL_S):
                    return None
            files |= {
                name: (size, sha) for name, (size, sha) in json.loads(read_sealed(self._store, name)).items()
            }
        return files

    def _complete(self, files: dict[str, tuple[int, str]]) -> None:
        """Verify sizes on storage, publish, prune."""
        if words := successor(self._store, self.manifest.attempt):
            raise TakenOver(words)
        stored = self._store.list(f"{self.manifest.folder}/")
        for name, (size, _) in files.items():
            if stored.get(f"{self.manifest.folder}/{name}") != size:
                raise StorageError(
                    self._store.address(f"{self.manifest.folder}/{name}"),
                    f"its stored size differs from the {size} bytes written",
                )
        self._before()
        complete = Checkpoint(**vars(self.manifest) | {"files": files})
        put_sealed(self._store, f"{self.manifest.folder}/{MANIFEST}", manifest_text(complete))
        self.seconds = time.perf_counter() - self._started
        self.size = sum(size for size, _ in files.values())
        self._prune(self.manifest.step)

    def _prune(self, step: int) -> None:
        """Delete all but the newest `keep` complete checkpoints up to `step`, and older incomplete ones."""
        kept = [s for s in steps_on(self._store) if s <= step][-self._config.keep :]
        names = self._store.list(f"{FOLDER}/")
        # A manifest goes first: what is left of an interrupted deletion is an incomplete checkpoint, not a broken one.
        for name in sorted(names, key=lambda n: not n.endswith(f"/{MANIFEST}")):
            other = step_of(name)
            if other is not None and other < step and other not in kept:
                self._store.delete(name)


def _part(manifest: Checkpoint, rank: int) -> str:
    return f"{manifest.attempt}/rank-{rank:05d}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
