"""Saver: takes the checkpoints of a run and settles with all ranks what became of them."""

import logging
import shutil
import time
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from data_shards.scratch import scratch_path, sweep
from data_shards.storage.store import Store
from trainer.checkpoints.checkpoint import Checkpoint
from trainer.checkpoints.owner import Lookout, TakenOver, claim
from trainer.checkpoints.seal import checkpoint_key
from trainer.checkpoints.upload import POLL_S, Upload
from trainer.config import RunConfig
from trainer.engine import Engine
from trainer.process_group import ProcessGroup

log = logging.getLogger(__name__)


class Saver:
    """Saves without stalling: the state is written to local disk in the step, the upload runs in a thread.

    An upload that fails, on whichever rank, is given up by all of them at the step in which they hear of it: rank 0
    waits no longer for a part that will not come, and warns with the words of the rank that failed. Training goes on
    and the next save tries again with the state of then; a run ends when two saves in a row have failed, or its last.
    All ranks hear the same in the same step, so they go on together or end together.

    Args:
        store: of the run.
        config: the run.
        group: this rank.
        revision: of the code.
        data: digest of the clips that are trained on.
        saved: called on every rank, once for each checkpoint that is complete, with its step, the seconds since its
            save began and the bytes of all its files.
        before: called on rank 0 before a checkpoint is made complete, by the thread that uploads it.
        lost: called on every rank where another start of the run has come since.

    Attributes:
        attempt: a name for this start of the run, the same on all ranks.
    """

    def __init__(
        self,
        store: Store,
        config: RunConfig,
        group: ProcessGroup,
        revision: str,
        data: str = "",
        saved: Callable[[int, float, int], None] = lambda step, seconds, size: None,
        before: Callable[[], None] = lambda: None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._config, self._group = store, config, group
        self._revision, self._data = revision, data
        self._saved, self._before, self._lost = saved, before, lost
        self.attempt = group.same(f"{time.time_ns():x}")
        self._upload: Upload | None = None
        self._failures: list[BaseException] = []  # of the uploads since the last that is complete
        self._lookout: Lookout | None = None
        checkpoint_key()  # a start without a usable one is told now, and not by the first save
        sweep()

    def claim(self) -> None:
        """Take the run over, on rank 0: from now on no other start's checkpoint is completed."""
        claim(self._store, self._config, self._revision, self.attempt)
        self._lookout = Lookout(self._config.output, self.attempt)

    def require_ours(self) -> None:
        """TakenOver, on all ranks, where another start of the run has come since. A collective."""
        words = self._group.same(self._lookout.words() if self._lookout else "")
        if words:
            self._lost()
            raise TakenOver(words)

    def save(self, engine: Engine, step: int, progress: dict[str, Any]) -> float:
        """Snapshot the state of all ranks and start the upload, once the previous one is over. A collective.

        Returns:
            Seconds that this took.

        Raises:
            TakenOver: another start of the run has come since.
            FloatingPointError: a weight is not finite. The step's loss does not tell: it is of the weights before.
            OSError: the state cannot be written to the local disk.
        """
        self.require_ours()
        started = time.perf_counter()
        self.settle()
        local = scratch_path("save")
        try:
            local.mkdir(mode=0o700)
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
            attempt=self.attempt,
            config=self._config.model_dump(mode="json"),
            digest=self._config.digest(),
            revision=self._revision,
            progress=progress,
            data=self._data,
        )
        self._upload = Upload(
            self._store,
            self._config.checkpoint,
            manifest,
            self._group.rank,
            local,
            started,
            self._before,
        )
        return time.perf_counter() - started

    def news(self) -> Float64[Tensor, "news"]:
        """What this rank has to say of the upload under way; `hear` takes the sum over ranks."""
        upload = self._upload
        if upload is None:
            return torch.zeros(4, dtype=torch.float64)
        running = upload.running  # asked first: of a thread that is over, the rest is final
        rest = (upload.error is not None, upload.seconds, upload.size)
        return torch.tensor([running, *rest], dtype=torch.float64)

    def hear(self, total: Float64[Tensor, "news"]) -> None:
        """Act on what all ranks said. A collective where an upload has failed."""
        running, failed, seconds, size = total.tolist()
        if self._upload is None:
            return
        if failed:
            self._upload.abandon()
        if running:
            return
        upload, self._upload = self._upload, None
        if not failed:
            self._failures.clear()
            self._saved(upload.manifest.step, seconds, int(size))
            return
        first = int(self._group.gather(torch.tensor([upload.error is not None]).double())[:, 0].argmax())
        words = self._group.same(f"{type(upload.error).__name__}: {upload.error}", first)
        told = f"the save of step {upload.manifest.step} failed on rank {first} ({words})"
        self._failures.append(upload.error or RuntimeError(told))
        if self._group.rank == 0:
            log.warning("%s", told)

    def settle(self) -> None:
        """Wait until the upload under way is over, complete or not. A collective."""
        while self._upload is not None:
            self._upload.join(POLL_S)
            self.hear(self._group.total(self.news()))

    def require(self) -> None:
        """Raise what went wrong if two saves in a row have failed."""
        if len(self._failures) > 1:
            raise self._failures[-1]

    def finish(self) -> None:
        """Wait for the last save; raise what went wrong if it is not complete. A collective."""
        self.settle()
        self._look_no_more()
        if self._failures:
            raise self._failures[-1]

    def abandon(self) -> None:
        """This rank fails: it meets the others no more and waits for none. What needs no other rank is completed."""
        self._look_no_more()
        if self._upload is not None:
            self._upload.abandon()

    def _look_no_more(self) -> None:
        if self._lookout:
            self._lookout.close()
            self._lookout = None
