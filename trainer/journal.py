"""The run's own record: metrics.jsonl and TensorBoard events."""

import hashlib
import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from data_shards.storage.place import check_url, open_store
from data_shards.storage.store import NotFound, Store

log = logging.getLogger(__name__)

LINES = "metrics.jsonl"
EVENTS = "events"
_UPLOAD_S = 60.0  # for which a store that is out is asked; the next upload tries again


class Journal:
    """What rank 0 writes while it trains. On object storage the files are kept locally and uploaded by `publish`.

    Uploads run in a thread of their own and only warn when they fail: no step waits for one, and none ends a run.

    Args:
        run: URL of the run.
        start: the step that training (re)starts from; later lines, from work that was lost, are dropped.
    """

    def __init__(self, run: str, start: int) -> None:
        self._remote = bool(check_url(run)[0])
        self.folder = local_folder(run)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path = self.folder / LINES
        kept = [line for line in run_lines(run) if line["step"] <= start] if start else []
        # Never half a file: a kill or a full disk here would take the curve of weeks.
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        unfinished.replace(self._path)
        self._events = SummaryWriter(str(self.folder / EVENTS), purge_step=start + 1 if start else None)
        self._store = open_store(run, _UPLOAD_S)
        self._thread = ThreadPoolExecutor(1, "journal")
        self._upload: Future[None] | None = None
        self._sizes: dict[str, int] = {}  # of what was uploaded; the files only grow

    def write(self, line: dict[str, Any]) -> None:
        """Record one interval: `step`, `time`, `loss`, `terms` and more."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        scalars = {k: v for k, v in line.items() if isinstance(v, int | float) and k not in ("step", "time")}
        scalars |= {f"terms/{k}": v for k, v in line.get("terms", {}).items()}
        scalars |= {f"scores/{k}": v for k, v in line.get("scores", {}).items()}
        for name, value in scalars.items():
            self._events.add_scalar(name, value, line["step"])

    def publish(self) -> None:
        """Upload what is new of a run that lies on object storage, beside the steps that follow."""
        waiting = self._upload and not self._upload.running() and not self._upload.done()
        if self._remote and not waiting:
            self._upload = self._thread.submit(self._put)

    def disown(self) -> None:
        """Upload nothing more: another start writes the run by now."""
        self._remote = False

    def settle(self) -> None:
        """Wait until what is written so far is on object storage, or could not be brought there now."""
        with suppress(RuntimeError):  # closed meanwhile, which does the same
            self.publish()
        if self._upload:
            wait([self._upload])

    def close(self) -> None:
        """Flush and publish. Waits for the uploads, which give up by themselves."""
        try:
            self._events.close()
            self.publish()
            self._thread.shutdown()
        finally:
            self._store.close()  # an interrupted wait must not leave a thread that keeps the process

    def _put(self) -> None:
        try:
            for path in (self._path, *sorted((self.folder / EVENTS).iterdir())):
                name, size = path.relative_to(self.folder).as_posix(), path.stat().st_size
                if self._sizes.get(name) != size:
                    self._store.put(name, path)
                    self._sizes[name] = size
        except Exception as error:  # whatever it is, nobody asks the thread for it
            log.warning("%s and %s stay in %s for now: %s", LINES, EVENTS, self.folder, error)


def _lines(text: bytes) -> list[dict[str, Any]]:
    lines = []
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:  # cut off by a kill in mid-write
            continue
    return lines


def run_lines(run: str, store: Store | None = None) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that a start of the run at this URL finds, here and, where it lies there, on storage.

    `store` is that of the URL, where it is open already.

    Raises:
        StorageError: they cannot be read.
    """
    path = local_folder(run) / LINES
    lines = _lines(path.read_bytes()) if path.exists() else []
    return _longer(lines, stored_lines(store or open_store(run))) if check_url(run)[0] else lines


def is_scored(run: str, step: int) -> bool:
    """Whether `run_lines` has the scores of that step."""
    return any(line["step"] == step and "scores" in line for line in run_lines(run))


def stored_lines(store: Store) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; none where there is no file, without one that a kill cut off."""
    try:
        return _lines(store.read(LINES))
    except NotFound:
        return []


def _longer(here: list[dict[str, Any]], stored: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines on the store, or those of this machine where they go on from them: an upload may have failed."""
    return here if here[: len(stored)] == stored else stored


def run_name(output: str) -> str:
    """The label `run` of a run's series: the last part of its output, and six digits that tell it from its namesakes.

    Raises:
        UserError: `output` is no URL that storage knows.
    """
    bucket, path = check_url(output)
    whole = f"s3://{bucket}/{path}" if bucket else str(Path(path).absolute())
    return f"{whole.rstrip('/').split('/')[-1]}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}"


def local_folder(run: str) -> Path:
    """Where a run's own files are written: the run itself, or runs/<run_name> for one on object storage.

    Raises:
        UserError: `run` is no URL that storage knows.
    """
    bucket, path = check_url(run)
    return Path("runs", run_name(run)) if bucket else Path(path)
