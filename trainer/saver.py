"""Saver: writes the checkpoints of a run, most of it beside the steps that follow."""

import hashlib
import json
import shutil
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from data_shards.storage import StorageError, Store
from trainer.checkpoint import FOLDER, MANIFEST, Checkpoint, steps_on
from trainer.config import RunConfig
from trainer.engine import Engine
from trainer.process_group import ProcessGroup


class Saver:
    """Saves without stalling: the state is written to local disk in the step, the upload runs in a thread.

    `revision` is the code's, `data` the digest of the clips that are trained on.
    """

    def __init__(
        self, store: Store, config: RunConfig, group: ProcessGroup, revision: str, data: str = ""
    ) -> None:
        self._store, self._config, self._group = store, config, group
        self._revision, self._data = revision, data
        self._attempt = group.same(f"{time.time_ns():x}")
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.stall_s = self.total_s = 0.0
        self.size = 0  # bytes this rank uploaded last

    def save(self, engine: Engine, step: int, progress: dict[str, Any]) -> None:
        """Snapshot the state of all ranks and start the upload. A collective; waits for the previous upload.

        Raises:
            FloatingPointError: a weight is not finite. The step's loss does not tell: it is of the weights before.
            OSError: the state cannot be written, or the previous upload failed.
            StorageError: the previous upload was refused.
        """
        started = time.perf_counter()
        self.wait()
        local = Path(tempfile.mkdtemp(prefix="commonfate-save-"))
        try:
            engine.save(local / "state")
            weights = engine.weights()
            for name, value in weights.items():
                if not bool(torch.isfinite(value).all()):
                    raise FloatingPointError(
                        f"{name} is not finite after step {step}: the weights are not saved; lower optim.lr or set "
                        f"optim.clip_norm"
                    )
            if self._group.rank == 0:
                torch.save(weights, local / "weights.pt")
        except BaseException:
            shutil.rmtree(local, ignore_errors=True)
            raise
        manifest = Checkpoint(
            step=step,
            world=self._group.world,
            zero_stage=self._config.engine.zero_stage,
            attempt=self._attempt,
            config=self._config.model_dump(mode="json"),
            digest=self._config.digest(),
            revision=self._revision,
            progress=progress,
            data=self._data,
        )
        self._thread = threading.Thread(
            target=self._upload, args=(local, manifest, started), name="checkpoint"
        )
        self._thread.start()
        self.stall_s = time.perf_counter() - started

    def wait(self) -> None:
        """Until the last save is complete on storage; raises what went wrong with it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _upload(self, local: Path, manifest: Checkpoint, started: float) -> None:
        try:
            rank = f"{manifest.attempt}/rank-{self._group.rank:05d}"
            files: dict[str, tuple[int, str]] = {}
            for path in sorted(p for p in local.rglob("*") if p.is_file()):
                name = f"{rank}/{path.relative_to(local)}"
                self._store.put(f"{manifest.folder}/{name}", path)
                files[name] = (path.stat().st_size, _sha256(path))
            self._store.put(f"{manifest.folder}/{rank}.json", json.dumps(files).encode())
            self.size = sum(size for size, _ in files.values())
            if self._group.rank == 0:
                self._complete(manifest)
            self.total_s = time.perf_counter() - started
        except BaseException as error:
            self._error = error
        finally:
            shutil.rmtree(local, ignore_errors=True)

    def _complete(self, manifest: Checkpoint) -> None:
        """Rank 0: wait for the parts of all ranks, verify their sizes on storage, publish, prune."""
        files: dict[str, tuple[int, str]] = {}
        deadline = time.monotonic() + self._config.checkpoint.deadline_s
        for rank in range(self._group.world):
            name = f"{manifest.folder}/{manifest.attempt}/rank-{rank:05d}.json"
            while not self._store.exists(name):
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"{self._store.url}/{name}: rank {rank} did not upload its part in time"
                    )
                time.sleep(0.05)
            files |= {name: (size, sha) for name, (size, sha) in json.loads(self._store.read(name)).items()}
        stored = self._store.list(f"{manifest.folder}/")
        for name, (size, _) in files.items():
            if stored.get(f"{manifest.folder}/{name}") != size:
                raise StorageError(
                    self._store.address(f"{manifest.folder}/{name}"),
                    f"its stored size differs from the {size} bytes written",
                )
        complete = Checkpoint(**vars(manifest) | {"files": files})
        self._store.put(f"{manifest.folder}/{MANIFEST}", json.dumps(asdict(complete)).encode())
        self._prune(manifest.step)

    def _prune(self, step: int) -> None:
        """Delete all but the newest `keep` complete checkpoints up to `step`, and older incomplete ones."""
        kept = [s for s in steps_on(self._store) if s <= step][-self._config.checkpoint.keep :]
        names = self._store.list(f"{FOLDER}/")
        # A manifest goes first: what is left of an interrupted deletion is an incomplete checkpoint, not a broken one.
        for name in sorted(names, key=lambda n: not n.endswith(f"/{MANIFEST}")):
            other = int(name.split("/")[1].removeprefix("step-"))
            if other < step and other not in kept:
                self._store.delete(name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
