"""Checkpoints on file or object storage: complete or absent.

    <run>/checkpoints/step-00000040/<attempt>/rank-00000/...   what each rank wrote, DeepSpeed's own files
    <run>/checkpoints/step-00000040/<attempt>/rank-00000.json  names, sizes and hashes of them
    <run>/checkpoints/step-00000040/checkpoint.json            last, once all of it was verified on storage

A start looks at the storage for the newest checkpoint.json and believes nothing else. `attempt` is new at every
start of the run, so that a process that should be dead cannot mix its files into a later attempt's.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_shards.storage import NotFound, StorageError, Store, open_store
from model.interface import VideoModel
from trainer.config import RunConfig
from trainer.engine import TAG, Engine
from trainer.overrides import validated
from trainer.process_group import ProcessGroup

FOLDER = "checkpoints"
MANIFEST = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """The manifest of a complete checkpoint. `files` maps names below its step folder to [size, sha256]."""

    step: int
    world: int
    zero_stage: int
    attempt: str
    config: dict[str, Any]
    digest: str
    revision: str
    progress: dict[str, Any]  # what the run's clock carries over: Timeline.saved()
    files: dict[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Where it lies below the run."""
        return f"{FOLDER}/step-{self.step:08d}"


@dataclass(frozen=True)
class LoadedModel:
    """A model with the weights of a checkpoint, on CPU, in eval mode."""

    config: RunConfig
    model: VideoModel
    step: int
    url: str


def steps_on(store: Store) -> list[int]:
    """Steps of the complete checkpoints of a run, ascending."""
    names = [name for name in store.list(f"{FOLDER}/") if name.endswith(f"/{MANIFEST}")]
    return sorted(int(name.split("/")[-2].removeprefix("step-")) for name in names)


def read_checkpoint(store: Store, step: int) -> Checkpoint:
    """The manifest of the complete checkpoint at `step`.

    Raises:
        StorageError: it is absent or damaged.
    """
    folder = f"{FOLDER}/step-{step:08d}"
    data = store.read(f"{folder}/{MANIFEST}")
    try:
        tree = json.loads(data)
        files = {name: (size, sha) for name, (size, sha) in tree["files"].items()}
        return Checkpoint(**tree | {"files": files})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(store, folder, MANIFEST, "is no manifest of a checkpoint") from error


def newest(store: Store) -> Checkpoint | None:
    """The newest complete checkpoint of a run, or None."""
    steps = steps_on(store)
    return read_checkpoint(store, steps[-1]) if steps else None


def run_of(url: str) -> str:
    """The URL of a run, from it or from that of one of its checkpoints; folders above it may be called checkpoints."""
    run, found, tail = url.rstrip("/").rpartition(f"/{FOLDER}/step-")
    return run if found and "/" not in tail else url.rstrip("/")


def load_model(url: str) -> LoadedModel:
    """The model of a run (its newest checkpoint) or of one checkpoint (`<run>/checkpoints/step-00000040`).

    Raises:
        ValueError: there is no complete checkpoint at `url`, or the code's model has changed since.
        StorageError: the checkpoint is damaged.
    """
    run = run_of(url)
    tail = url.rstrip("/")[len(run) :].removeprefix(f"/{FOLDER}/step-")
    store = open_store(run)
    steps = steps_on(store)
    if not steps or (tail and (not tail.isdecimal() or int(tail) not in steps)):
        raise ValueError(f"{url}: no complete checkpoint there; have steps {steps or 'none'}")
    checkpoint = read_checkpoint(store, int(tail) if tail else steps[-1])
    config = validated({k: v for k, v in checkpoint.config.items() if k in RunConfig.model_fields}, RunConfig)
    model = config.model.build()
    with tempfile.TemporaryDirectory() as folder:
        weights = _download_weights(store, checkpoint, Path(folder))
        try:
            model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except RuntimeError as error:
            reason = (
                f"its weights were saved by revision {checkpoint.revision} and do not fit this code's model"
            )
            raise ValueError(f"{run}/{checkpoint.folder}: {reason}") from error
    return LoadedModel(config, model.eval(), checkpoint.step, f"{run}/{checkpoint.folder}")


def restore(
    store: Store, checkpoint: Checkpoint, config: RunConfig, group: ProcessGroup, model: VideoModel
) -> Engine:
    """An engine with the checkpoint's weights and optimiser. A collective.

    On the same number of ranks DeepSpeed reads its own files, bit for bit. On another number, ZeRO 1-3 go through
    DeepSpeed's Universal Checkpoint, converted here; stage 0 holds everything on rank 0.

    Raises:
        ValueError: the ZeRO stage differs (DeepSpeed cannot convert between stages), the optimiser (its state would be
            read as another's), or the names or shapes of the weights.
        StorageError: the checkpoint is damaged.
    """
    url = f"{store.url}/{checkpoint.folder}"
    for field_name, saved, given in (
        ("engine.zero_stage", checkpoint.zero_stage, config.engine.zero_stage),
        ("optim.name", checkpoint.config["optim"]["name"], config.optim.name),
    ):
        if given != saved:
            raise ValueError(
                f"field {field_name}: got {given}, but {url} was saved with {saved}; resume with that or start in "
                f"another output"
            )
    root = Path(tempfile.gettempdir()) / f"commonfate-{group.same(_new_attempt())}"
    universal = checkpoint.zero_stage > 0 and checkpoint.world != group.world
    refusal: StorageError | None = None
    try:
        # One download a machine; the others find it there.
        if group.local_rank == 0:
            try:
                _download_weights(store, checkpoint, root)
                _download_state(store, checkpoint, root)
            except StorageError as error:
                refusal = error
        _raise_everywhere(refusal, group)
        if universal and group.local_rank == 0:
            _convert_to_universal(root)
        group.barrier()
        # Mapped: names and shapes are at the end of the file, the weights themselves need not be read.
        path = root / _weights_name(checkpoint)
        shapes = _shapes(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
        group.barrier()  # a refusal deletes what others may not have read yet
        _require_same_weights(shapes, model, checkpoint, config, url)
        engine = Engine(model, config, group, universal)
        engine.load(root, tag=f"{TAG}_universal" if universal else TAG)
        group.barrier()
    finally:
        if group.local_rank == 0:
            shutil.rmtree(root, ignore_errors=True)
    return engine


def _raise_everywhere(refusal: StorageError | None, group: ProcessGroup) -> None:
    """Raise this rank's refusal, and rank 0's on all ranks: the others would wait for it, and say something else."""
    told = group.same("" if refusal is None else json.dumps([refusal.url, refusal.reason]))
    if refusal is not None:
        raise refusal
    if told:
        raise StorageError(*json.loads(told))


def _require_same_weights(
    saved: dict[str, list[int]], model: VideoModel, checkpoint: Checkpoint, config: RunConfig, url: str
) -> None:
    """ValueError unless the saved weights have the names and shapes of the model's.

    The configs may differ in what makes no weights, such as rematerialisation or the weights of losses.
    """
    wanted = _shapes(model.state_dict())
    if saved == wanted:
        return
    name = next(n for n in (*wanted, *saved) if saved.get(n) != wanted.get(n))
    weight = f"{name}: {saved.get(name, 'absent')} there, {wanted.get(name, 'absent')} here"
    fields = _differences(checkpoint.config["model"], config.model_dump(mode="json")["model"], "model")
    if not fields:
        raise ValueError(
            f"{url} was saved by revision {checkpoint.revision} and does not fit this code's model ({weight}); resume "
            f"with that revision or start in another output"
        )
    raise ValueError(
        f"{'; '.join(fields)}: the weights of {url} do not fit ({weight}); resume with what was saved or start in "
        f"another output"
    )


def _shapes(weights: dict[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in weights.items()}


def _differences(saved: Any, given: Any, path: str) -> list[str]:
    """Words about every field of two trees that differs; of two kinds of models about their names only."""
    if not isinstance(saved, dict) or not isinstance(given, dict):
        return [] if saved == given else [f"field {path}: got {given}, saved with {saved}"]
    if saved.get("name") != given.get("name"):
        return _differences(saved.get("name"), given.get("name"), f"{path}.name")
    names = dict.fromkeys((*given, *saved))
    return [words for n in names for words in _differences(saved.get(n), given.get(n), f"{path}.{n}")]


class Saver:
    """Saves without stalling: the state is written to local disk in the step, the upload runs in a thread."""

    def __init__(self, store: Store, config: RunConfig, group: ProcessGroup, revision: str) -> None:
        self._store, self._config, self._group, self._revision = store, config, group, revision
        self._attempt = group.same(_new_attempt())
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


def _new_attempt() -> str:
    return f"{time.time_ns():x}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(store: Store, checkpoint: Checkpoint, name: str, folder: Path) -> Path:
    """StorageError where the file is not as the manifest says."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        data = store.read(f"{checkpoint.folder}/{name}")
    except NotFound as error:
        raise _damaged(store, checkpoint.folder, name, "is missing") from error
    size, sha = checkpoint.files[name]
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha:
        raise _damaged(
            store, checkpoint.folder, name, "is damaged: its size or hash differs from the manifest's"
        )
    target.write_bytes(data)
    return target


def _damaged(store: Store, folder: str, name: str, reason: str) -> StorageError:
    remedy = f"delete {store.address(folder)} to go on from an earlier checkpoint"
    return StorageError(store.address(f"{folder}/{name}"), f"{reason}; {remedy}")


def _weights_name(checkpoint: Checkpoint) -> str:
    return next(name for name in checkpoint.files if name.endswith("weights.pt"))


def _download_weights(store: Store, checkpoint: Checkpoint, folder: Path) -> Path:
    return _download(store, checkpoint, _weights_name(checkpoint), folder)


def _download_state(store: Store, checkpoint: Checkpoint, root: Path) -> None:
    """All ranks' DeepSpeed files of a checkpoint, merged into root/TAG."""
    (root / TAG).mkdir(parents=True)
    for name in checkpoint.files:
        if f"/state/{TAG}/" in name:
            path = _download(store, checkpoint, name, root / "parts")
            shutil.move(path, root / TAG / path.name)


def _convert_to_universal(root: Path) -> None:
    """DeepSpeed's own converter, in a process of its own: it needs no ranks and changes global state."""
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state"]
    command += ["--input_folder", str(root / TAG), "--output_folder", str(root / f"{TAG}_universal")]
    command += ["--num_extract_workers", "1", "--num_merge_workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        raise RuntimeError(f"DeepSpeed's checkpoint conversion failed: {done.stderr.strip()[-2000:]}")
