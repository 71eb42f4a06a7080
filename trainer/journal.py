"""The run's own record: metrics.jsonl, TensorBoard events, the progress shown to a person or a log."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from tqdm import tqdm

from data_shards.storage import check_url, open_store

LINES = "metrics.jsonl"


class Journal:
    """What rank 0 writes while it trains. On object storage the files are kept locally and uploaded by `publish`.

    Args:
        run: URL of the run.
        start: the step that training (re)starts from; later lines, from work that was lost, are dropped.
        steps: the last step, for the progress bar.
    """

    def __init__(self, run: str, start: int, steps: int) -> None:
        self._store = open_store(run)
        self._remote = bool(check_url(run)[0])
        self.folder = local_folder(run)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path = self.folder / LINES
        if self._remote and start and self._store.exists(LINES):
            self._path.write_bytes(self._store.read(LINES))
        kept = [line for line in self._read() if line["step"] <= start]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._events = SummaryWriter(str(self.folder / "events"), purge_step=start + 1 if start else None)
        # A bar on a terminal; elsewhere (a log, Ray's streams) a bar is noise and one JSON line tells more.
        self._bar = tqdm(total=steps, initial=start, unit="step") if sys.stdout.isatty() else None

    def write(self, line: dict[str, Any]) -> None:
        """Record one interval: `step`, `time`, `loss`, `terms` and more."""
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        scalars = {k: v for k, v in line.items() if isinstance(v, int | float) and k not in ("step", "time")}
        scalars |= {f"terms/{k}": v for k, v in line.get("terms", {}).items()}
        scalars |= {f"scores/{k}": v for k, v in line.get("scores", {}).items()}
        for name, value in scalars.items():
            self._events.add_scalar(name, value, line["step"])
        if self._bar is None:
            print(json.dumps(line), flush=True)
        elif "loss" in line:
            self._bar.update(line["step"] - self._bar.n)
            self._bar.set_postfix(loss=f"{line['loss']:.4g}", refresh=False)

    def publish(self) -> None:
        """Upload the lines and events of a run that lies on object storage."""
        if self._remote:
            for path in (p for p in self.folder.rglob("*") if p.is_file()):
                self._store.put(str(path.relative_to(self.folder)), path)

    def close(self) -> None:
        """Flush, publish, release the terminal."""
        self._events.close()
        if self._bar is not None:
            self._bar.close()
        self.publish()

    def _read(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        lines = []
        for text in self._path.read_text().splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:  # cut off by a kill in mid-write
                continue
        return lines


def run_name(output: str) -> str:
    """The label `run` of a run's series: the last part of its output, and six digits that tell it from its namesakes.

    Raises:
        ValueError: `output` is no URL that storage knows.
    """
    bucket, path = check_url(output)
    whole = f"s3://{bucket}/{path}" if bucket else str(Path(path).absolute())
    return f"{whole.rstrip('/').split('/')[-1]}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}"


def local_folder(run: str) -> Path:
    """Where a run's own files are written: the run itself, or runs/<run_name> for one on object storage.

    Raises:
        ValueError: `run` is no URL that storage knows.
    """
    bucket, path = check_url(run)
    return Path("runs", run_name(run)) if bucket else Path(path)
